"""What integer kernels can do: the constraints that both runtimes put on scales and zero points.

Source: TFLite's 8-bit quantization specification, and ONNX Runtime's QLinear operators, which are at least
as free.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Graph, Node
from edgefer.graph.patterns import is_large_depthwise, is_plain_gemm
from edgefer.plan import QuantParams

_LARGEST_BIAS = 2.0**22  # in steps; float32 tells them apart, so that files can be rebuilt from their real values

WEIGHT_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""Output channel axis of the weights; Gemm's and MatMul's depend on the node (`weight_axis`)."""

FIXED_OUTPUT = {
    "Sigmoid": QuantParams("int8", (1 / 256,), (-128,)),
    "Tanh": QuantParams("int8", (1 / 128,), (0,)),
}
"""Operators whose output scale the kernels prescribe."""

SAME_SCALE = frozenset(
    [
        "Clip",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "MaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ]
)
"""Operators whose outputs must be stored like their inputs."""

_MULTIPLYING = frozenset(["Conv", "ConvTranspose", "Gemm", "MatMul", "Mul"])
_SMALLEST_RATIO, _LARGEST_RATIO = 2.0**-24, 2.0**8

SMALLEST_SUMMAND = 2.0**-10
"""The least scale of what is added, over that of the sum, that XNNPACK adds."""

_FREE = frozenset(["Add", "AveragePool", "GlobalAveragePool", "Mul", "Sub"])

PARAMETERS = frozenset(
    ["Clip", "Expand", "Gather", "Pad", "ReduceMean", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Unsqueeze"]
)
"""Operators whose inputs after the first are settings, not values to compute with."""


def has_integer_kernel(graph: Graph, node: Node) -> bool:
    """Whether both artifacts can compute `node` on int8 tensors."""
    if any(graph.info[value].dtype.kind != "f" for value in (node.inputs[0], *filter(None, node.outputs))):
        return False
    if node.op in WEIGHT_AXIS or node.op == "Gemm":
        plain = node.op != "Gemm" or is_plain_gemm(graph, node)
        grouped = node.op == "ConvTranspose" and node.int("group", 1) != 1
        return plain and not grouped and all(graph.is_constant(value) for value in node.inputs[1:])
    if node.op == "Concat" and any(graph.is_constant(value) for value in node.inputs):
        return False  # a constant cannot be stored like the tensors beside it without harm
    if node.op == "Gather":
        return graph.is_constant(node.inputs[1]) and not graph.is_constant(node.inputs[0])
    if node.op == "MatMul":
        maker = graph.producers.get(node.inputs[0])
        looks_up = maker is not None and maker.op == "OneHot"  # rows of a table, which int8 would round for nothing
        return not graph.is_constant(node.inputs[0]) and weight_axis(graph, node) is not None and not looks_up
    return node.op in FIXED_OUTPUT or node.op in SAME_SCALE or node.op in _FREE


def slow_in_int8(graph: Graph) -> frozenset[str]:
    """Names of nodes that are much slower in int8: depthwise convolutions of more taps than there are kernels for.

    XNNPACK takes them for general ones of one channel.  In float they are sums of smaller ones
    (`emit.tflite.ops.convolution`), of 7x7 taps in a thirtieth of the time.
    """
    return frozenset(node.name for node in graph.nodes if is_large_depthwise(graph, node))


def weight_axis(graph: Graph, node: Node) -> int | None:
    """Axis of the weights (input 1) that has a scale for each index; None where `node` has no weights."""
    if node.op == "Gemm":
        return 0 if node.int("transB") else 1
    if node.op == "MatMul" and graph.is_constant(node.inputs[1]) and len(graph.shape(node.inputs[1])) == 2:
        return 1
    return WEIGHT_AXIS.get(node.op)


def values_read(node: Node) -> tuple[str, ...]:
    """The inputs that `node` computes with, leaving out those that are settings."""
    return node.inputs[:1] if node.op in PARAMETERS else tuple(value for value in node.inputs if value)


def smallest_scales(graph: Graph, node: Node, source: QuantParams) -> npt.NDArray[np.float64]:
    """What scales of a layer's weights, (output channels,), must not be below, lest its bias be too large to store."""
    channels = graph.shape(node.inputs[1])[weight_axis(graph, node) or 0]
    bias = graph.constants[node.inputs[2]].reshape(-1) if node.input(2) else np.zeros(1)
    return np.broadcast_to(np.abs(bias.astype(np.float64)) / (source.scale[0] * _LARGEST_BIAS), (channels,))


def is_representable(node: Node, tensors: Mapping[str, QuantParams]) -> bool:
    """Whether kernels can bring what `node` reads to the scale of what it makes.

    Beyond these ratios LiteRT computes nonsense, refuses the file or ends the process.
    """
    read = [max(tensors[value].scale) for value in values_read(node)[:2] if value in tensors]
    if node.op in FIXED_OUTPUT:
        return True
    units = [prod(read)] if node.op in _MULTIPLYING else read
    return all(_SMALLEST_RATIO <= unit / tensors[node.output].scale[0] < _LARGEST_RATIO for unit in units)


def bias_params(source: QuantParams, weights: QuantParams, axis: int) -> QuantParams:
    """How a bias is stored, channels along `axis`: int32, in steps of its layer's input times those of the weights."""
    scale = np.float32(source.scale[0]) * np.asarray(weights.scale, np.float32)
    return QuantParams("int32", tuple(map(float, scale)), (0,) * len(scale), axis)
