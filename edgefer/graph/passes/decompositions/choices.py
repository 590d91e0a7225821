"""Choices by a condition or a place that is known beforehand, as masks make them, in terms of products and sums."""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term


@decomposes("Where")
def where(at: Formula) -> Term | None:
    """Finite numbers where a mask is open, constants elsewhere: x * open + fill, or x + fill where that is infinite."""
    condition = at.constant(0)
    if condition is None:
        return None
    for x, other, is_open in ((1, 2, condition), (2, 1, ~condition)):
        constant = at.constant(other)
        if constant is None or at.constant(x) is not None or constant.dtype != np.float32:
            continue
        fill: Array = np.where(is_open, np.float32(0), constant)
        if np.isinf(fill).any():
            return at.input(x) + fill if np.isinf(fill[np.broadcast_to(~is_open, fill.shape)]).all() else None
        shown = at.input(x) * is_open.astype(np.float32)
        return shown + fill if fill.any() else shown
    return None


@decomposes("Trilu")
def triangle(at: Formula) -> Term | None:
    """What lies on one side of a diagonal, zeros on the other."""
    x, offset = at.input(0), at.constant(1)
    is_known = offset is not None or not at.has_input(1)
    if not is_known or at.info(at.node.output).dtype != np.float32:
        return None
    half = np.triu if at.node.int("upper", 1) else np.tril
    return x * half(np.ones(x.shape[-2:], np.float32), 0 if offset is None else int(offset.item()))
