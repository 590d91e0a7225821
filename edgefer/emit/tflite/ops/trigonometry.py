"""Angles and hyperbolic functions, in float, by those that LiteRT has."""

from __future__ import annotations

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar


@emits("Atan")
def arc_tangent(at: Site) -> None:
    """The angle of (1, x)."""
    at = at.in_float()
    layout = at.layout()
    x = at.input(0, layout)
    ones = np.ones(at.values.writer.tensors[x].shape, np.float32)  # that ATAN2 does not repeat by itself
    at.emit("ATAN2", [x, at.values.constant("ones", ones)], at.output(layout))


@emits("Asin", "Acos")
def arc_sine(at: Site) -> None:
    """The angle of (sqrt(1 - x²), x), or of (x, sqrt(1 - x²))."""
    at = at.in_float()
    layout = at.layout()
    x = at.input(0, layout)
    shape = at.values.writer.tensors[x].shape
    square, rest, other = (at.temporary(shape, name) for name in ("square", "rest", "other"))
    at.emit("SQUARE", [x], square, "SquareOptions")
    at.emit("SUB", [scalar(at, 1.0, x), square], rest, "SubOptions")
    at.emit("SQRT", [rest], other)
    at.emit("ATAN2", [x, other] if at.node.op == "Asin" else [other, x], at.output(layout))
