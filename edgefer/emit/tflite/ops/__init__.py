"""The operators that the TFLite emitter knows, a module per kind."""

from edgefer.emit.tflite.handlers import HANDLERS
from edgefer.emit.tflite.ops import (
    activation,
    convolution,
    elementwise,
    linear,
    moments,
    pooling,
    reduction,
    resize,
    shape,
)

__all__ = [
    "HANDLERS",
    "activation",
    "convolution",
    "elementwise",
    "linear",
    "moments",
    "pooling",
    "reduction",
    "resize",
    "shape",
]
