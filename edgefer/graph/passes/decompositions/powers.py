"""Powers by exponents that are real numbers, and of numbers, as runtimes have them."""

from __future__ import annotations

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term


@decomposes("Pow")
def exponential(at: Formula) -> Term | None:
    """Powers of a positive number."""
    base = at.constant(0)
    if base is None or base.dtype != np.float32 or base.size != 1 or base.ndim > len(at.input(1).shape):
        return None
    is_real = base.item() > 0 and at.constant(1) is None and at.info(at.node.inputs[1]).dtype == np.float32
    return (at.input(1) * float(np.log(base.item()))).to("Exp") if is_real else None


@decomposes("Pow")
def power(at: Formula) -> Term | None:
    """Whole exponents as real ones, which LiteRT wants and ONNX Runtime has for all; a first power is the number."""
    exponent = at.constant(1)
    if exponent is None or at.info(at.node.inputs[0]).dtype != np.float32:
        return None
    if exponent.size == 1 and exponent.item() == 1 and exponent.ndim <= len(at.input(0).shape):
        return at.input(0)
    return None if exponent.dtype == np.float32 else at.input(0).to("Pow", exponent.astype(np.float32))
