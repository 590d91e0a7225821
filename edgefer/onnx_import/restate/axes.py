"""Axes, bounds and sizes of parts, which were attributes, as inputs."""

from __future__ import annotations

from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call

_OTHERS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")


def reduce(call: Call) -> None:
    """Axes were an attribute; all of them, where it is left out."""
    axes = call.node.ints("axes")
    given = [call.number("axes", axes)] if axes else []
    call.end(call.node.op, call.node.inputs[0], *given, **call.attributes("axes"))


restates("ReduceSum", 1, 11)(reduce)
for _name in _OTHERS:
    restates(f"Reduce{_name}", 1, 11, 12, 13)(reduce)


@restates("Slice", 1)
def slice_by_attributes(call: Call) -> None:
    """Bounds were attributes; the first axes, where none are named."""
    starts, ends = call.node.ints("starts"), call.node.ints("ends")
    axes = call.node.ints("axes", tuple(range(len(starts))))
    bounds = (call.number(stem, part) for stem, part in (("starts", starts), ("ends", ends), ("axes", axes)))
    call.end("Slice", call.node.inputs[0], *bounds)


@restates("Squeeze", 1, 11)
@restates("Unsqueeze", 1, 11)
def by_axes(call: Call) -> None:
    """Axes were an attribute."""
    axes = call.node.ints("axes")
    call.end(call.node.op, call.node.inputs[0], *([call.number("axes", axes)] if axes else []))


@restates("Split", 2, 11, 13, 18)
def split(call: Call) -> None:
    """Sizes were an attribute, and where they are left out, parts are alike, the last one perhaps smaller."""
    axis, count = call.node.int("axis"), len(call.node.outputs)
    size = call.shape()[axis]
    if call.node.input(1):
        sizes = tuple(int(part) for part in call.known(1, "sizes"))
    else:
        part = -(-size // call.node.int("num_outputs", count))
        alike = tuple(max(0, min(part, size - index * part)) for index in range(count))
        sizes = call.node.ints("split", alike)
    call.end("Split", call.node.inputs[0], call.number("sizes", sizes), axis=axis)


@restates("TopK", 1)
def top_k(call: Call) -> None:
    """How many was an attribute."""
    call.end("TopK", call.node.inputs[0], call.number("k", (call.node.int("k"),)), axis=call.node.int("axis", -1))


@restates("Scatter", 9, 11)
def scatter(call: Call) -> None:
    """The name of ScatterElements before opset 11."""
    call.end("ScatterElements", *call.node.inputs, **call.node.attributes)
