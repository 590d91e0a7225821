"""Activations, each an operator of its own; those fused into a linear operator never come here."""

from __future__ import annotations

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import default
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar

_FUSED = schema.ActivationFunctionType
_LIMITING = {
    (0.0, 6.0): ("RELU6", _FUSED.RELU6),
    (0.0, np.inf): ("RELU", _FUSED.RELU),
    (-1.0, 1.0): ("RELU_N1_TO_1", _FUSED.RELU_N1_TO_1),
}


@emits("Sigmoid")
def sigmoid(at: Site) -> None:
    """Sigmoid is 1 / (1 + exp(-x))."""
    layout = at.layout()
    at.emit("LOGISTIC", [at.input(0, layout)], at.output(layout))


@emits("Tanh")
def tanh(at: Site) -> None:
    """Hyperbolic tangent."""
    layout = at.layout()
    at.emit("TANH", [at.input(0, layout)], at.output(layout))


@emits("HardSwish")
def hard_swish(at: Site) -> None:
    """HardSwish is x * clip(x / 6 + 0.5, 0, 1); in float, which XNNPACK takes over."""
    at = at.in_float()
    layout = at.layout()
    at.emit("HARD_SWISH", [at.input(0, layout)], at.output(layout), "HardSwishOptions")


@emits("Gelu")
def gelu(at: Site) -> None:
    """Gelu is x times the share of a normal distribution below x, or its tanh form; in float."""
    at = at.in_float()
    layout = at.layout()
    approximate = at.node.str("approximate", "none") == "tanh"
    at.emit("GELU", [at.input(0, layout)], at.output(layout), "GeluOptions", approximate=approximate)


@emits("LeakyRelu")
def leaky_relu(at: Site) -> None:
    """LeakyRelu is x where positive, alpha * x elsewhere; in float, as the int8 kernel rounds alpha to 1 / 256."""
    at = at.in_float()
    layout = at.layout()
    alpha = at.node.float("alpha", 0.01)
    at.emit("LEAKY_RELU", [at.input(0, layout)], at.output(layout), "LeakyReluOptions", alpha=alpha)


@emits("PRelu")
def prelu(at: Site) -> None:
    """LeakyRelu with a slope per channel; in float, which XNNPACK takes over."""
    at = at.in_float()
    layout = at.layout()
    at.emit("PRELU", [at.input(0, layout), at.input(1, layout)], at.output(layout))


@emits("Elu")
def elu(at: Site) -> None:
    """Elu is x where positive, exp(x) - 1 elsewhere; in float."""
    at = at.in_float()
    layout = at.layout()
    at.emit("ELU", [at.input(0, layout)], at.output(layout))


@emits("Relu", "Clip")
def clip(at: Site) -> None:
    """Values limited from below, above or both; in int8 by a sum with zero, as XNNPACK has no int8 RELU, else in float.

    It has no int8 MAXIMUM or MINIMUM either.
    """
    low = 0.0 if at.node.op == "Relu" else _bound(at, 1, -np.inf)
    high = np.inf if at.node.op == "Relu" else _bound(at, 2, np.inf)
    if (low, high) not in _LIMITING:
        at = at.in_float()
    layout = at.layout()
    source, target = at.input(0, layout), at.output(layout)
    if at.quantized:
        fused = _LIMITING[low, high][1]
        at.emit("ADD", [source, scalar(at, 0.0, source)], target, "AddOptions", fusedActivationFunction=fused)
    else:
        _limit(at, source, target, low, high)


def _bound(at: Site, index: int, absent: float) -> float:
    stated = at.constant(index)
    number: float = absent if stated is None else stated.item()
    return number


def _limit(at: Site, source: int, target: int, low: float, high: float) -> None:
    """Fill `target` with `source` limited to `low` to `high`, both stored alike."""
    tensors = at.values.writer.tensors
    if (low, high) in _LIMITING and not tensors[source].is_integer:
        at.emit(_LIMITING[low, high][0], [source], target)
        return
    steps = [(op, bound) for op, bound in (("MAXIMUM", low), ("MINIMUM", high)) if np.isfinite(bound)]
    if not steps:
        at.values.reshape_into(source, target)
    for number, (op, bound) in enumerate(steps, 1):
        last = number == len(steps)
        result = target if last else at.temporary(tensors[source].shape, "from below", like=source)
        at.emit(op, [source, scalar(at, bound, source)], result, "MaximumMinimumOptions")
        source = result


@emits("Softmax")
def softmax(at: Site) -> None:
    """Softmax along any axis, which is stored last; XNNPACK takes it over in float."""
    rank = len(at.shape())
    axis = at.node.int("axis", -1) % rank
    layout = at.layout()
    if layout[-1] != axis:
        layout = default(rank)
    if layout[-1] != axis:
        layout = (*(other for other in range(rank) if other != axis), axis)
    at.emit("SOFTMAX", [at.input(0, layout)], at.output(layout), "SoftmaxOptions", beta=1.0)
