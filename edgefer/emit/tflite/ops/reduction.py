"""Reductions over axes, in whatever layout the value lives in."""

from __future__ import annotations

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.site import Site

_BUILTIN = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}


@emits(*_BUILTIN)
def reduce(at: Site) -> None:
    """Mean, sum, product, maximum or minimum over the axes stated, or all."""
    if at.node.op == "ReduceProd" or (at.node.op != "ReduceMean" and not at.shares_params()):
        at = at.in_float()
    layout = at.layout()
    rank = len(layout)
    stated = at.constant(1)
    if stated is not None and stated.size:
        axes = {int(axis) % rank for axis in stated}
    else:
        axes = set() if at.node.int("noop_with_empty_axes") else set(range(rank))
    if at.node.int("keepdims", 1):
        kept, keep = layout, True
    else:
        left = [axis for axis in range(rank) if axis not in axes]
        kept, keep = tuple(left.index(axis) for axis in layout if axis not in axes), False
    positions = sorted(layout.index(axis) for axis in axes)
    at.emit(
        _BUILTIN[at.node.op],
        [at.input(0, layout), at.integers(positions, "axes")],
        at.output(kept),
        "ReducerOptions",
        keepDims=keep,
    )
