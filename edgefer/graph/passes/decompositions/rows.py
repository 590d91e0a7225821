"""Convolutions and pools in one dimension: those in two, over maps of one row."""

from __future__ import annotations

from math import prod

from edgefer.graph.ir import Attribute
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_NEUTRAL = {"dilations": 1, "kernel_shape": 1, "output_padding": 0, "output_shape": 1, "strides": 1}


@decomposes("Conv", "ConvTranspose", "MaxPool", "LpPool", "GlobalMaxPool")
def one_dimensional(at: Formula) -> Term | None:
    """The same along the second axis of a map whose first has one element."""
    return _as_map(at)


def _as_map(at: Formula) -> Term | None:
    x = at.input(0)
    if len(x.shape) != 3 or len([value for value in at.node.outputs if value]) > 1 or at.node.activation:
        return None
    batch, channels, size = x.shape
    others: list[Term] = []
    if at.node.op in ("Conv", "ConvTranspose"):
        outer, inner, taps = at.input(1).shape
        others = [at.input(1).reshaped(outer, inner, 1, taps), *([at.input(2)] if at.has_input(2) else [])]
    made = x.reshaped(batch, channels, 1, size).to(at.node.op, *others, **_in_two_dimensions(at))
    return made.reshaped(*at.info(at.node.output).shape)


@decomposes("AveragePool")
def average_pool(at: Formula) -> Term | None:
    """A mean where the window is all that there is along an axis, and of one element along others."""
    x, made = at.input(0), at.info(at.node.output).shape
    kernel = at.node.ints("kernel_shape")
    whole = [axis for axis, taps in enumerate(kernel, 2) if taps == x.shape[axis]]
    each = all(taps in (1, x.shape[axis]) for axis, taps in enumerate(kernel, 2))
    kept = prod(made) * prod(x.shape[axis] for axis in whole) == prod(x.shape)
    if whole and each and kept and not any(at.node.ints("pads", (0,))) and not at.node.activation:
        return x.over("ReduceMean", *whole)
    return _as_map(at)


def _in_two_dimensions(at: Formula) -> dict[str, Attribute]:
    """Attributes with what does nothing along the first axis."""
    attributes = dict(at.node.attributes)
    for name, neutral in _NEUTRAL.items():
        if name in attributes:
            attributes[name] = (neutral, *at.node.ints(name))
    if "pads" in attributes:
        before, after = at.node.ints("pads")
        attributes["pads"] = (0, before, 0, after)
    return attributes
