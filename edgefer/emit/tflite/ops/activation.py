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
    """HardSwish is x * clip(x / 6 + 0.5, 0, 1)."""
    layout = at.layout()
    at.emit("HARD_SWISH", [at.input(0, layout)], at.output(layout), "HardSwishOptions")


@emits("HardSigmoid")
def hard_sigmoid(at: Site) -> None:
    """HardSigmoid is clip(alpha * x + beta, 0, 1), in float: the passes spell it out where it is to be int8."""
    at = at.in_float()
    layout = at.layout()
    source, target = at.input(0, layout), at.output(layout)
    shape = at.values.writer.tensors[source].shape
    scaled, shifted = at.temporary(shape, "scaled"), at.temporary(shape, "shifted")
    at.emit("MUL", [source, scalar(at, at.node.float("alpha", 0.2), source)], scaled, "MulOptions")
    at.emit("ADD", [scaled, scalar(at, at.node.float("beta", 0.5), source)], shifted, "AddOptions")
    _limit(at, shifted, target, 0.0, 1.0)


@emits("LeakyRelu")
def leaky_relu(at: Site) -> None:
    """LeakyRelu is x where positive, alpha * x elsewhere."""
    layout = at.layout()
    alpha = at.node.float("alpha", 0.01)
    at.emit("LEAKY_RELU", [at.input(0, layout)], at.output(layout), "LeakyReluOptions", alpha=alpha)


@emits("PRelu")
def prelu(at: Site) -> None:
    """LeakyRelu with a slope per channel."""
    layout = at.layout()
    at.emit("PRELU", [at.input(0, layout), at.input(1, layout)], at.output(layout))


@emits("Elu")
def elu(at: Site) -> None:
    """Elu is x where positive, exp(x) - 1 elsewhere; in float."""
    if at.node.float("alpha", 1.0) != 1.0:
        raise at.unsupported(f"alpha={at.node.float('alpha')}")
    at = at.in_float()
    layout = at.layout()
    at.emit("ELU", [at.input(0, layout)], at.output(layout))


@emits("Relu", "Clip")
def clip(at: Site) -> None:
    """Values limited from below, above or both."""
    layout = at.layout()
    low = 0.0 if at.node.op == "Relu" else _bound(at, 1, -np.inf)
    high = np.inf if at.node.op == "Relu" else _bound(at, 2, np.inf)
    limit = _limit_int8 if at.quantized else _limit
    limit(at, at.input(0, layout), at.output(layout), low, high)


def _bound(at: Site, index: int, absent: float) -> float:
    stated = at.constant(index)
    return absent if stated is None else float(stated.item())


def _limit(at: Site, source: int, target: int, low: float, high: float) -> None:
    """Fill `target` with `source` limited to `low` to `high`, both stored alike."""
    if (low, high) in _LIMITING:
        at.emit(_LIMITING[low, high][0], [source], target)
        return
    steps = [(op, bound) for op, bound in (("MAXIMUM", low), ("MINIMUM", high)) if np.isfinite(bound)]
    if not steps:
        at.values.reshape_into(source, target)
    for number, (op, bound) in enumerate(steps, 1):
        last = number == len(steps)
        result = target if last else at.temporary(at.values.writer.tensors[source].shape, "from below", like=source)
        at.emit(op, [source, scalar(at, bound, source)], result, "MaximumMinimumOptions")
        source = result


def _limit_int8(at: Site, source: int, target: int, low: float, high: float) -> None:
    """Fill int8 `target`, in ways that XNNPACK takes over where there are any: it has no int8 RELU, MAXIMUM or MINIMUM.

    Where `target` cannot hold numbers beyond the limits, storing is limiting.
    """
    tensors = at.values.writer.tensors
    scales = tensors[target].scales
    assert scales is not None
    smallest, largest = ((limit - scales.zero_point[0]) * scales.scale[0] for limit in (-128, 127))
    half_a_step = scales.scale[0] / 2
    rescaled = tensors[source].scales != scales
    if rescaled and low <= smallest + half_a_step and high >= largest - half_a_step:
        at.emit("QUANTIZE", [source], target, "QuantizeOptions")
    elif (low, high) in _LIMITING:
        zero = scalar(at, 0.0, source)
        at.emit("ADD", [source, zero], target, "AddOptions", fusedActivationFunction=_LIMITING[low, high][1])
    elif rescaled:
        limited = at.temporary(tensors[source].shape, "limited", like=source)
        _limit(at, source, limited, low, high)
        at.emit("QUANTIZE", [limited], target, "QuantizeOptions")
    else:
        _limit(at, source, target, low, high)


@emits("Softmax")
def softmax(at: Site) -> None:
    """Softmax along any axis, which is stored last."""
    rank = len(at.shape())
    axis = at.node.int("axis", -1) % rank
    layout = at.layout()
    if layout[-1] != axis:
        layout = default(rank)
    if layout[-1] != axis:
        layout = (*(other for other in range(rank) if other != axis), axis)
    at.emit("SOFTMAX", [at.input(0, layout)], at.output(layout), "SoftmaxOptions", beta=1.0)
