"""The operators that the TFLite emitter knows, a module per kind."""

from edgefer.emit.tflite.handlers import HANDLERS
from edgefer.emit.tflite.ops import (
    activation,
    choosing,
    convolution,
    elementwise,
    linear,
    logic,
    moments,
    pooling,
    reduction,
    resize,
    shape,
    trigonometry,
)

__all__ = [
    "HANDLERS",
    "activation",
    "choosing",
    "convolution",
    "elementwise",
    "linear",
    "logic",
    "moments",
    "pooling",
    "reduction",
    "resize",
    "shape",
    "trigonometry",
]
