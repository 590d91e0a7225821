"""Patterns, named once and matched everywhere: those that make EfficientNets hard to quantize, and plain products."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgefer.graph.ir import Graph, Node


@dataclass(frozen=True)
class Silu:
    """SiLU(x) = x * sigmoid(x), as every integer runtime computes it: a Sigmoid and a Mul."""

    x: str
    sigmoid: Node
    mul: Node


@dataclass(frozen=True)
class SqueezeExcite:
    """Channel attention: x * sigmoid(expand(act(reduce(mean(x)))))."""

    x: str
    pool: Node
    reduce: Node
    expand: Node
    gate: Node
    mul: Node


def find_silus(graph: Graph) -> tuple[Silu, ...]:
    """Every SiLU, in network order."""
    found = []
    for sigmoid in graph.nodes:
        if sigmoid.op != "Sigmoid":
            continue
        x = sigmoid.inputs[0]
        mul = graph.sole_consumer(sigmoid.output)
        if mul is not None and mul.op == "Mul" and set(mul.inputs) == {x, sigmoid.output}:
            found.append(Silu(x, sigmoid, mul))
    return tuple(found)


def find_squeeze_excites(graph: Graph) -> tuple[SqueezeExcite, ...]:
    """Every squeeze-and-excite block, in network order, whatever its inner activation."""
    found = []
    for pool in graph.nodes:
        if pool.op != "GlobalAveragePool":
            continue
        x = pool.inputs[0]
        for mul in graph.consumers.get(x, ()):
            gate = next((graph.producers[v] for v in mul.inputs if v != x and v in graph.producers), None)
            if mul.op != "Mul" or gate is None or gate.op not in ("Sigmoid", "Clip"):
                continue
            convolutions = _convolutions_between(graph, pool, gate)
            if len(convolutions) == 2:
                found.append(SqueezeExcite(x, pool, convolutions[0], convolutions[1], gate, mul))
    return tuple(found)


def is_never_negative(graph: Graph, value: str) -> bool:
    """Whether a value is known to be 0 or more, by what makes it."""
    if graph.is_constant(value):
        return bool((graph.constants[value] >= 0).all())
    node = graph.producers.get(value)
    if node is None:
        return False
    if node.op == "Clip":
        least = graph.constants.get(node.input(1))
        return least is not None and float(least.min()) >= 0
    if node.op == "Pow" and graph.is_constant(node.inputs[1]):
        return bool((graph.constants[node.inputs[1]] % 2 == 0).all()) or is_never_negative(graph, node.inputs[0])
    if node.op in _NEVER_NEGATIVE or node.activation or (node.op == "Mul" and len({*node.inputs}) == 1):
        return True
    if node.op in _AS_THEIR_INPUT:
        return is_never_negative(graph, node.inputs[0])
    return node.op in _AS_ALL_INPUTS and all(is_never_negative(graph, each) for each in node.inputs if each)


_NEVER_NEGATIVE = frozenset(["Abs", "Exp", "Relu", "Sigmoid", "Softmax", "Sqrt"])
_AS_ALL_INPUTS = frozenset(["Add", "Concat", "Conv", "Div", "Gemm", "MatMul", "Mul", "Pad"])
_AS_THEIR_INPUT = frozenset(
    [
        *("AveragePool", "Flatten", "GlobalAveragePool", "MaxPool", "ReduceMean", "ReduceSum", "Reshape", "Sign"),
        *("Slice", "Squeeze", "Transpose", "Unsqueeze"),
    ]
)


_PLACES = {"ArgMax": 0, "ArgMin": 0, "TopK": 1}
"""Operators that make places along an axis, and which of their outputs are."""

_MOVING = frozenset({"Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def number_of_places(graph: Graph, value: str) -> int:
    """Of how many places along an axis each number of a value is one, from 0 on; 0 where they are none."""
    while (node := graph.producers.get(value)) is not None and node.op in _MOVING:
        value = node.inputs[0]
    if node is None or node.op not in _PLACES or value != node.outputs[_PLACES[node.op]]:
        return 0
    return graph.shape(node.inputs[0])[node.int("axis", -1 if node.op == "TopK" else 0)]


def is_pointwise(graph: Graph, node: Node) -> bool:
    """Whether a Conv is a matrix product at each position: one tap, step one, no groups, no padding."""
    return (
        node.op == "Conv"
        and set(graph.shape(node.inputs[1])[2:]) == {1}
        and node.int("group", 1) == 1
        and set(node.ints("strides")) <= {1}
        and set(node.ints("pads")) <= {0}
    )


LARGEST_DEPTHWISE = 25
"""Taps of the largest depthwise kernels that XNNPACK has."""


def is_large_depthwise(graph: Graph, node: Node) -> bool:
    """Whether a node is a depthwise convolution by constants, of more taps than there are kernels for."""
    if node.op != "Conv" or node.int("group", 1) == 1 or not graph.is_constant(node.inputs[1]):
        return False
    _, inputs, *taps = graph.shape(node.inputs[1])
    return inputs == 1 and prod(taps) > LARGEST_DEPTHWISE


def is_plain_gemm(graph: Graph, node: Node) -> bool:
    """Whether a Gemm is x · weights + bias: unscaled, with one bias (or none) for each column."""
    columns = graph.shape(node.output)[1]
    return (
        not node.int("transA")
        and node.float("alpha", 1.0) == node.float("beta", 1.0) == 1.0
        and (not node.input(2) or graph.shape(node.inputs[2]) in ((columns,), (1, columns)))
    )


def has_constant_weights(graph: Graph, node: Node) -> bool:
    """Whether a node is a linear layer by constants, whose output channels are those of its weights."""
    if node.op == "Gemm" and not is_plain_gemm(graph, node):
        return False
    if node.op == "ConvTranspose" and node.int("group", 1) != 1:
        return False
    return node.op in ("Conv", "ConvTranspose", "Gemm") and all(graph.is_constant(value) for value in node.inputs[1:])


def output_axis(layer: Node) -> int:
    """The axis of a linear layer's weights that its output channels lie along."""
    if layer.op == "Gemm":
        return 0 if layer.int("transB") else 1
    return 1 if layer.op == "ConvTranspose" else 0


def _convolutions_between(graph: Graph, pool: Node, gate: Node) -> list[Node]:
    """The 1x1 convolutions on the way back from `gate` to `pool`, first to last; empty if it leads elsewhere."""
    found: list[Node] = []
    node: Node | None = gate
    while node is not None and node is not pool:
        if node.op == "Conv":
            found.insert(0, node)
        node = graph.producers.get(node.inputs[0])
    return found if node is pool else []
