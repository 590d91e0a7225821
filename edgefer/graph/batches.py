"""Several images at once through a network for one, where each operator computes every image of a batch by itself."""

from __future__ import annotations

from math import prod

import onnx

from edgefer.graph.ir import Graph, Node

AXIS = "batch"
"""Name of a model's axis of images, where that is free."""

_UNARY = frozenset(
    [
        "Cast", "Clip", "Elu", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity",
        "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh", "AveragePool", "MaxPool", "BatchNormalization",
    ]
)  # fmt: skip
_BROADCASTING = frozenset(["Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub"])

_AT_ONCE = 8
_NUMBERS = 1 << 21  # in the largest value of a batch: more takes memory for no time
_RETURNED = 4 << 20  # numbers in all that is returned, likewise


def images_at_once(graph: Graph) -> int:
    """How many images are best run at once; 1 where the graph has an operator that may mix them.

    It follows from the graph alone, so that what is computed does not depend on the machine's memory or processors.
    """
    if not all(graph.shape(value)[:1] == (1,) for value in graph.inputs) or that_may_mix_images(graph) is not None:
        return 1
    returned = sum(prod(graph.shape(value)) for value in graph.outputs)
    largest = max((prod(graph.shape(value)) for node in graph.nodes for value in node.outputs), default=0)
    return max(min(_AT_ONCE, _NUMBERS // max(largest, 1), _RETURNED // max(returned, 1)), 1)


def that_may_mix_images(graph: Graph) -> Node | None:
    """The first operator whose answer for an image may depend on others of its batch; None where there is none."""
    return next((node for node in graph.nodes if not _keeps_images_apart(graph, node)), None)


def free_batch(model: onnx.ModelProto) -> None:
    """Let a model of a graph that mixes no images take any number of them."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = AXIS


def takes_batches(model: onnx.ModelProto) -> bool:
    """Whether `free_batch` was applied to it."""
    return all(value.type.tensor_type.shape.dim[0].dim_param == AXIS for value in model.graph.input)


def for_one(model: onnx.ModelProto) -> None:
    """Undo `free_batch`."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def _keeps_images_apart(graph: Graph, node: Node) -> bool:
    """Whether axis 0 of what a node makes are its images, and each depends on that image alone."""
    computed = [value for value in node.inputs if value and not graph.is_constant(value)]
    if not computed:
        return False
    if node.op in _UNARY or node.op == "Conv":
        return computed == [node.inputs[0]]
    rank = len(graph.shape(node.output))
    if node.op in _BROADCASTING:
        constants = [graph.shape(value) for value in node.inputs if value not in computed]
        return all(len(graph.shape(value)) == rank for value in computed) and all(
            len(shape) < rank or (len(shape) == rank and shape[0] == 1) for shape in constants
        )
    if node.op == "Concat":
        return len(computed) == len(node.inputs) and node.int("axis") % rank != 0
    if node.op in ("Softmax", "LogSoftmax"):
        return node.int("axis", -1) % rank != 0
    if node.op == "Slice":
        axes = node.inputs[3] if len(node.inputs) > 3 else ""
        return graph.is_constant(axes) and all(int(axis) % rank != 0 for axis in graph.constants[axes].ravel())
    if node.op == "Flatten":
        return node.int("axis", 1) == 1
    if node.op == "Gemm":
        return computed == [node.inputs[0]] and not node.int("transA")
    return node.op == "Transpose" and node.ints("perm")[:1] == (0,)
