"""Linear branches that read the same value and are summed become one convolution.

    conv 3x3(x) + conv 1x1(x) + batch norm(x)    becomes    conv 3x3(x)

RepVGG, MobileOne, RepGhost and FastViT are trained with such branches, and are meant to be merged before they are used
(Ding et al., CVPR 2021, arXiv:2101.03697).  A smaller kernel is added to those taps of the larger one that it lies on,
a factor for each channel to the tap in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import by_channel, each_node, substitute
from edgefer.graph.patterns import has_constant_weights


def merge_branches(graph: Graph) -> Graph:
    """A graph without sums of a convolution and another of the same value, or that value by factors for each channel.

    The value as it is only joins what is depthwise: among the many weights of other channels, a 1 would take the
    precision of all.
    """
    return each_node(graph, _merge)


@dataclass(frozen=True)
class _Branch:
    """A convolution of the graph, or what could be one.

    Attributes:
        conv: says of what, and how it steps; nameless where it is not in the graph.
        weights: (outputs, inputs of a group, *taps).
        bias: (outputs,).
    """

    conv: Node
    weights: Array
    bias: Array

    @property
    def taps(self) -> tuple[int, ...]:
        """Along each axis."""
        return self.weights.shape[2:]

    @property
    def is_in_graph(self) -> bool:
        """Whether the graph has this convolution."""
        return bool(self.conv.name)

    @property
    def group(self) -> int:
        """Of channels that are read apart."""
        return self.conv.int("group", 1)

    def ints(self, name: str, default: int) -> tuple[int, ...]:
        """An attribute, along each axis."""
        return self.conv.ints(name, (default,) * len(self.taps))


def _merge(graph: Graph, node: Node) -> Graph:
    if node.op not in ("Add", "Sub") or len({graph.shape(value) for value in (*node.inputs, node.output)}) > 1:
        return graph
    for first, second in product(*([*_convolutions(graph, value), *_factors(graph, value)] for value in node.inputs)):
        negated = replace(second, weights=-second.weights, bias=-second.bias) if node.op == "Sub" else second
        merged = _sum(first, negated)
        if merged is not None:
            names = fresh_name(graph, f"{node.output}/weights"), fresh_name(graph, f"{node.output}/bias")
            inputs = (merged.conv.inputs[0], *names)
            conv = replace(merged.conv, name=node.name, inputs=inputs, outputs=node.outputs, activation=node.activation)
            return substitute(graph, {node.name: [conv]}, dict(zip(names, (merged.weights, merged.bias), strict=True)))
    return graph


def _convolutions(graph: Graph, value: str) -> Iterator[_Branch]:
    """The convolution that `value` is, by weights that nothing else reads."""
    node = graph.producers.get(value)
    if node is None or node.op != "Conv" or not has_constant_weights(graph, node) or not _is_alone(graph, node):
        return
    if len(graph.consumers[node.inputs[1]]) == 1:
        weights = graph.constants[node.inputs[1]]
        bias = graph.constants[node.inputs[2]] if node.input(2) else np.zeros(len(weights), np.float32)
        yield _Branch(node, weights, bias)


def _factors(graph: Graph, value: str) -> Iterator[_Branch]:
    """`value` as itself, and as what it is made of by products and sums with a number for each channel."""
    shape = graph.shape(value)
    if len(shape) < 3:
        return
    factors, shifts = np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)
    while True:
        taps = (1,) * (len(shape) - 2)
        conv = Node("", "Conv", (value,), (value,), {"group": shape[1], "kernel_shape": taps})
        yield _Branch(conv, factors.reshape(-1, 1, *taps), shifts)
        node = graph.producers.get(value)
        if node is None or node.op not in ("Add", "Mul") or not _is_alone(graph, node):
            return
        sources = [each for each in node.inputs if not graph.is_constant(each)]
        numbers = [by_channel(graph.constants[each], shape, 1) for each in node.inputs if graph.is_constant(each)]
        if len(sources) != 1 or numbers[0] is None or graph.shape(sources[0]) != shape:
            return
        (value,) = sources
        if node.op == "Mul":
            factors = factors * numbers[0]
        else:
            shifts = shifts + factors * numbers[0]


def _is_alone(graph: Graph, node: Node) -> bool:
    return graph.sole_consumer(node.output) is not None and not node.activation


def _sum(first: _Branch, second: _Branch) -> _Branch | None:
    """Both as one convolution that costs no more than the dearer; None where there is none."""
    part, whole = sorted((first, second), key=lambda each: (prod(each.taps), -each.group, each.is_in_graph))
    if (
        part.conv.inputs[0] != whole.conv.inputs[0]
        or not whole.is_in_graph
        or part.group % whole.group
        or part.ints("strides", 1) != whole.ints("strides", 1)
        or (set(part.taps) != {1} and part.ints("dilations", 1) != whole.ints("dilations", 1))
        or (whole.group < part.group and np.all(np.abs(part.weights) == 1))
        or any(each.conv.str("auto_pad", "NOTSET") != "NOTSET" for each in (part, whole))
    ):
        return None
    steps = whole.ints("dilations", 1)
    places = []
    for axis, (few, many) in enumerate(zip(part.taps, whole.taps, strict=True)):
        borders = [each.conv.ints("pads", (0, 0) * len(steps))[axis] for each in (part, whole)]
        begin, between = divmod(borders[1] - borders[0], steps[axis])
        if between or not 0 <= begin <= many - few:
            return None
        places.append(slice(begin, begin + few))
    weights, width = whole.weights.copy(), part.weights.shape[1]
    for index, kernel in enumerate(part.weights):
        begin = index // (len(weights) // part.group) * width % weights.shape[1]
        weights[index, begin : begin + width][(slice(None), *places)] += kernel
    return replace(whole, weights=weights, bias=whole.bias + part.bias)
