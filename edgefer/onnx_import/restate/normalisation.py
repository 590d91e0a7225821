"""Normalisation: batch norms as they infer, also by pixel; groups as instances; means and deviations step by step."""

from __future__ import annotations

from math import prod

import numpy as np

from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call

_ABOVE_ZERO = 1e-9  # what MeanVarianceNormalization's definition adds to the deviation

_AS_IT_INFERS = "Export it as it infers: model.eval() before exporting."


@restates("BatchNormalization", 6, 7, 9, 14, 15)
def batch_norm(call: Call) -> None:
    """By stored statistics; before opset 9 they could be those of each pixel (`spatial=0`).

    In training mode they are those of what is normalised: of weights, which networks without batch norms standardise
    so (Brock et al. 2021), they are known.
    """
    trains = call.node.int("training_mode")
    call = call.first_output()
    epsilon = call.node.float("epsilon", 1e-5)
    if trains:
        if (weights := call.constant(0)) is None:
            raise call.unsupported("BatchNormalization in training mode", _AS_IT_INFERS)
        axes = (0, *range(2, weights.ndim))
        found = {"mean": weights.mean(axes, np.float64), "variance": weights.var(axes, np.float64)}
        statistics = (call.number(name, array.astype(np.float32)) for name, array in found.items())
        call.end("BatchNormalization", *call.node.inputs[:3], *statistics, epsilon=epsilon)
        return
    if call.node.int("spatial", 1):
        call.end("BatchNormalization", *call.node.inputs, epsilon=epsilon)
        return
    x, scale, shift, mean, variance = call.node.inputs
    deviation = call.add("Sqrt", call.add("Add", variance, call.scalar("epsilon", epsilon)))
    factor = call.add("Div", scale, deviation)
    offset = call.add("Sub", shift, call.add("Mul", mean, factor))
    call.end("Add", call.add("Mul", x, factor), offset)


@restates("MeanVarianceNormalization", 9, 13)
def mean_variance_norm(call: Call) -> None:
    """What is left of the mean over its deviation; ONNX's inference knows no shape of the operator itself."""
    x = call.node.inputs[0]
    axes = call.number("axes", call.node.ints("axes", (0, 2, 3)))
    rest = call.add("Sub", x, call.add("ReduceMean", x, axes))
    deviation = call.add("Sqrt", call.add("ReduceMean", call.add("Mul", rest, rest), axes))
    call.end("Div", rest, call.add("Add", deviation, call.scalar("above_zero", _ABOVE_ZERO)))


@restates("GroupNormalization", 18)
def group_norm_by_group(call: Call) -> None:
    """As opset 18 had it, with a scale for each group."""
    groups, channels = call.node.int("num_groups"), call.shape()[1]
    parts = [call.known(index, "a scale") for index in (1, 2)]
    each = [call.number(f"of_channels_{i}", np.repeat(part, channels // groups)) for i, part in enumerate(parts)]
    _group_norm(call, *each)


@restates("GroupNormalization", 21)
def group_norm(call: Call) -> None:
    """With a scale for each channel."""
    _group_norm(call, *call.node.inputs[1:])


def _group_norm(call: Call, scale: str, shift: str) -> None:
    """Each group is an instance of one long channel, as PyTorch exports it."""
    shape, groups = call.shape(), call.node.int("num_groups")
    rows = call.number("rows", (shape[0], groups, prod(shape[1:]) // groups))
    ones, zeros = call.number("ones", np.ones(groups, np.float32)), call.number("zeros", np.zeros(groups, np.float32))
    normal = call.add(
        "InstanceNormalization",
        call.add("Reshape", call.node.inputs[0], rows),
        ones,
        zeros,
        epsilon=call.node.float("epsilon", 1e-5),
    )
    normal = call.add("Reshape", normal, call.number("shape", shape))
    along = call.number("channels", (shape[1], *(1,) * (len(shape) - 2)))
    scaled = call.add("Mul", normal, call.add("Reshape", scale, along))
    call.end("Add", scaled, call.add("Reshape", shift, along))
