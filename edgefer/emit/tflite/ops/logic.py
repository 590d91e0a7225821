"""Comparisons, what follows from them, and choices by them; conditions are bool tensors in the layout of numbers."""

from __future__ import annotations

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import default
from edgefer.emit.tflite.ops.elementwise import common_layout
from edgefer.emit.tflite.site import Site

_PAIRS = {
    "And": ("LOGICAL_AND", "LogicalAndOptions"),
    "Equal": ("EQUAL", "EqualOptions"),
    "Greater": ("GREATER", "GreaterOptions"),
    "GreaterOrEqual": ("GREATER_EQUAL", "GreaterEqualOptions"),
    "Less": ("LESS", "LessOptions"),
    "LessOrEqual": ("LESS_EQUAL", "LessEqualOptions"),
    "Or": ("LOGICAL_OR", "LogicalOrOptions"),
    "Xor": ("NOT_EQUAL", "NotEqualOptions"),
}
_LARGEST_RANK = 4  # that LiteRT's comparisons broadcast; without broadcasting any will do


@emits(*_PAIRS)
def pair(at: Site) -> None:
    """A comparison, or two conditions in one."""
    at = at.in_float()
    if max(len(at.shape(0)), len(at.shape(1))) > _LARGEST_RANK and at.shape(0) != at.shape(1):
        raise at.unsupported(f"operands of {list(at.shape(0))} and {list(at.shape(1))}")
    layout = common_layout(at)
    op, options = _PAIRS[at.node.op]
    at.emit(op, [at.input(0, layout), at.input(1, layout)], at.output(layout), options)


@emits("Not")
def negation(at: Site) -> None:
    """The other way round."""
    layout = at.layout()
    at.emit("LOGICAL_NOT", [at.input(0, layout)], at.output(layout), "LogicalNotOptions")


@emits("Where")
def where(at: Site) -> None:
    """One value or the other, by a condition; in float."""
    at = at.in_float()
    layout = common_layout(at)
    at.emit("SELECT_V2", [at.input(index, layout) for index in range(3)], at.output(layout), "SelectV2Options")


@emits("IsNaN")
def is_nan(at: Site) -> None:
    """What is not equal to itself."""
    layout = at.in_float().layout()
    source = at.in_float().input(0, layout)
    at.emit("NOT_EQUAL", [source, source], at.output(layout), "NotEqualOptions")


@emits("IsInf")
def is_infinite(at: Site) -> None:
    """What is equal to infinity, of either sign or of one."""
    at = at.in_float()
    layout = at.layout()
    source = at.input(0, layout)
    signs = [at.node.int("detect_positive", 1), at.node.int("detect_negative", 1)]
    if not any(signs):
        none = np.zeros(at.values.writer.tensors[source].shape, np.bool_)
        at.values.put(at.node.output, False, layout, at.values.constant(at.node.output, none))
        return
    if all(signs):
        size = at.temporary(at.values.writer.tensors[source].shape, "size")
        at.emit("ABS", [source], size, "AbsOptions")
        source = size
    bound = at.values.constant("infinity", np.asarray(np.inf if signs[0] else -np.inf, np.float32))
    at.emit("EQUAL", [source, bound], at.output(layout), "EqualOptions")


def stored_last(at: Site, axis: int) -> tuple[int, ...]:
    """A layout in which an axis is stored last, the input's own where it is that."""
    rank = len(at.shape())
    for layout in (at.layout(), default(rank)):
        if layout[-1] == axis:
            return layout
    return (*(other for other in range(rank) if other != axis), axis)
