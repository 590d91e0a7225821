"""Channel regions: values whose channels correspond one to one, and so can be reordered or scaled together.

A convolution makes channels; activations, depthwise convolutions, pooling, sums and gates pass each channel
on by itself; further convolutions read them all.  What lies between is one region:

    producers (Conv, Gemm)  ->  values, linked by nodes that keep channels apart  ->  readers (Conv, Gemm)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf
from typing import Literal, TypeAlias

import numpy as np

from edgefer.graph.ir import Array, Attribute, Graph, Node, fresh_name, fresh_node_name
from edgefer.graph.patterns import is_plain_gemm

Links: TypeAlias = Literal["order", "scale"]
"""What its values share: the order of their channels; or a factor for each, which a gate does not share, and which
a depthwise convolution can change."""

_ELEMENTWISE = frozenset(
    [
        "Clip",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Tanh",
    ]
)
_POOLING = frozenset(["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"])
_BINARY = frozenset(["Add", "Div", "Mul", "Sub"])
_HOMOGENEOUS = _POOLING | {"Add", "Flatten", "Identity", "LeakyRelu", "Mul", "PRelu", "Relu", "Sub"}


@dataclass(frozen=True)
class ChannelConstant:
    """A constant with an entry, or a slice, for each channel of a region.

    Attributes:
        name: of the constant.
        axis: the one that channels lie along.
        power: the constant is multiplied by r ** power where channels are multiplied by r.
    """

    name: str
    axis: int
    power: Literal[-1, 0, 1]


@dataclass(frozen=True)
class Region:
    """Values whose channels correspond, and all that makes and reads them, each in network order.

    Attributes:
        channels: how many.
        values: the values.
        producers: nodes whose output channels they are.
        inside: nodes that pass each channel on by itself.
        readers: nodes whose input channels they are.
        constants: what has an entry for each channel.
        axis: of the values, the one that channels lie along.
    """

    channels: int
    values: tuple[str, ...]
    producers: tuple[Node, ...]
    inside: tuple[Node, ...]
    readers: tuple[Node, ...]
    constants: tuple[ChannelConstant, ...]
    axis: int = 1

    @property
    def limit(self) -> float:
        """What a Relu6 cuts values off at, however its channels are scaled; infinite where there is none."""
        return 6.0 if any(node.activation == "Relu6" for node in (*self.producers, *self.inside)) else inf


def find_region(graph: Graph, value: str, links: Links = "order") -> Region | None:
    """The region of `value`; None where something that cannot take part touches it, or the caller sees it."""
    found, left = {value}, [value]
    while left:
        current = left.pop()
        maker = graph.producers.get(current)
        if maker is None or current in graph.outputs:
            return None
        for node in (maker, *graph.consumers.get(current, ())):
            further = linked(graph, node, current, links)
            if further is None:
                return None
            left.extend(each for each in further if each not in found)
            found.update(further)
    return _region(graph, found, links)


def find_regions(graph: Graph, links: Links = "order") -> tuple[Region, ...]:
    """Every region that is made by a convolution or fully connected layer, in network order."""
    regions: list[Region] = []
    for node in graph.nodes:
        known = any(node.output in region.values for region in regions)
        region = find_region(graph, node.output, links) if _bounds(graph, node, links) and not known else None
        if region is not None:
            regions.append(region)
    return tuple(regions)


def permute(graph: Graph, region: Region, order: Sequence[int]) -> Graph:
    """The graph with the region's channels reordered; its outputs stay what they were.

    Args:
        graph: that `region` was found in.
        region: found for its channels' order.
        order: which channel comes where: channel i will be what channel `order[i]` was.
    """
    arrays: dict[str, Array] = {}
    for constant in region.constants:
        array = arrays.get(constant.name, graph.constants[constant.name])
        arrays[constant.name] = np.ascontiguousarray(array.take(order, constant.axis))
    return graph.with_constants(arrays)


def keep(graph: Graph, region: Region, channels: Sequence[int]) -> Graph:
    """The graph with these of the region's channels alone; what reads it lacks what the others gave.

    Args:
        graph: that `region` was found in.
        region: found for its channels' order.
        channels: at least one, in the order that they are to have.
    """
    kept = permute(graph, region, channels)
    count = len(channels)
    names = {node.name for node in region.inside}
    nodes = [replace(n, attributes=regrouped(n, count)) if n.name in names else n for n in kept.nodes]
    shapes = {value: graph.info[value] for value in region.values}
    info = {value: replace(found, shape=(found.shape[0], count, *found.shape[2:])) for value, found in shapes.items()}
    return kept.with_nodes(nodes, info)


def scale(graph: Graph, region: Region, factors: Array) -> Graph:
    """The graph with the region's channels multiplied by `factors` (> 0); its outputs stay what they were.

    Args:
        graph: that `region` was found in.
        region: found for its channels' scale.
        factors: (channels,); where the region has a limit, 1 or more, and outputs stay what they were for all images
            whose channels stay below the limit once they are multiplied.
    """
    arrays: dict[str, Array] = {}
    for constant in region.constants:
        array = arrays.get(constant.name, graph.constants[constant.name])
        along = [1] * array.ndim
        along[constant.axis] = -1
        arrays[constant.name] = (array * (factors**constant.power).reshape(along)).astype(array.dtype)
    return graph.with_constants(arrays)


def divide(
    graph: Graph, region: Region, values: Collection[str], sizes: Sequence[int]
) -> tuple[Graph, Mapping[str, tuple[str, ...]]]:
    """The graph with some of the region's values computed in parts, each some channels that follow each other.

    What makes one of `values` is there once for each part; where another node reads one, a Concat makes it
    whole again, under its old name.  The graph's outputs stay what they were; constants that were divided stay too,
    unread.

    Args:
        graph: that `region` was found in.
        region: found for its channels' order.
        values: of the region; a node inside the region that makes one reads, of the region, only others of them.
        sizes: of the parts, in channels; they sum up to the region's.

    Returns:
        The graph, and the names of each value's parts.
    """
    axes = {constant.name: constant.axis for constant in reversed(region.constants)}  # that of made ones comes first
    producers = {node.name for node in region.producers}
    makers = {node.name for node in (*region.producers, *region.inside) if node.output in values}
    names = {value: _part_names(graph, value, len(sizes)) for value in values}
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name not in makers:
            nodes.append(node)
            continue
        own = {name: _part_names(graph, name, len(sizes)) for name in node.inputs if name in axes}
        for name, parts in own.items():
            constants.update(zip(parts, _cut(graph.constants[name], sizes, axes[name]), strict=True))
        read = own if node.name in producers else own | names
        for index, size in enumerate(sizes):
            inputs = tuple(read[name][index] if name in read else name for name in node.inputs)
            part = replace(node, name=fresh_node_name(graph, f"{node.name}/part_{index}"), inputs=inputs)
            nodes.append(replace(part, outputs=(names[node.output][index],), attributes=regrouped(node, size)))
        if any(reader.name not in makers - producers for reader in graph.consumers.get(node.output, ())):
            join = fresh_node_name(graph, f"{node.name}/join")
            nodes.append(Node(join, "Concat", names[node.output], (node.output,), {"axis": 1}))
    info = {
        part: replace(graph.info[value], shape=(1, size, *graph.shape(value)[2:]))
        for value, parts in names.items()
        for part, size in zip(parts, sizes, strict=True)
    }
    return graph.with_constants(constants).with_nodes(nodes, info), names


def _cut(array: Array, sizes: Sequence[int], axis: int) -> list[Array]:
    pieces = np.split(array, list(accumulate(sizes))[:-1], axis)
    return [np.ascontiguousarray(piece) for piece in pieces]


def regrouped(node: Node, channels: int) -> Mapping[str, Attribute]:
    """The attributes of a depthwise convolution, or of another node, for so many channels."""
    is_grouped = node.op == "Conv" and node.int("group", 1) > 1
    return {**node.attributes, "group": channels} if is_grouped else node.attributes


def _part_names(graph: Graph, name: str, count: int) -> tuple[str, ...]:
    return tuple(fresh_name(graph, f"{name}/part_{index}") for index in range(count))


def mixes_channels(graph: Graph, node: Node) -> bool:
    """Whether each output channel is a weighted sum of all input channels."""
    plain = (node.op == "Conv" and node.int("group", 1) == 1) or (node.op == "Gemm" and is_plain_gemm(graph, node))
    return plain and all(graph.is_constant(value) for value in node.inputs[1:])


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether a convolution with constant weights makes one output channel of each input channel."""
    if node.op != "Conv" or not all(graph.is_constant(value) for value in node.inputs[1:]):
        return False
    return node.int("group", 1) == graph.shape(node.inputs[0])[1] == graph.shape(node.output)[1]


def _bounds(graph: Graph, node: Node, links: Links) -> bool:
    """Whether its output's channels share nothing with its input's."""
    return mixes_channels(graph, node) or (links == "scale" and is_depthwise(graph, node))


def linked(graph: Graph, node: Node, value: str, links: Links) -> tuple[str, ...] | None:
    """The values whose channels are `value`'s because of `node`, which touches it; None where it cannot take part."""
    bounds = _bounds(graph, node, links)
    if links == "scale" and (value == node.output or not bounds) and node.activation not in ("", "Relu", "Relu6"):
        return None
    if bounds:
        return ()
    if links == "scale" and node.op not in _HOMOGENEOUS:
        return None
    if node.op in _BINARY:
        return _linked_operands(graph, node, value, links)
    flattening = node.op == "Flatten" and graph.shape(node.output) == (1, *graph.shape(node.inputs[0])[1:2])
    one_to_one = flattening or is_depthwise(graph, node) or node.op in _ELEMENTWISE | _POOLING
    has_settings = all(graph.is_constant(name) for name in node.inputs[1:] if name)
    return (node.inputs[0], node.output) if one_to_one and has_settings and len(node.outputs) == 1 else None


def _linked_operands(graph: Graph, node: Node, value: str, links: Links) -> tuple[str, ...] | None:
    """The same for a sum or product, by the shapes of its operands."""
    shape = graph.shape(node.output)
    operands = [name for name in node.inputs if not graph.is_constant(name)]
    if shape[1] != graph.shape(value)[1] or any(len(graph.shape(name)) != len(shape) for name in operands):
        return None
    alike = [name for name in operands if graph.shape(name)[1] == shape[1]]
    if links == "order":
        return (*alike, node.output)
    constants = [graph.constants[name] for name in node.inputs if graph.is_constant(name)]
    if node.op in ("Add", "Sub"):
        each = all(_channel_axis(array, shape) is not None for array in constants)
        return (*alike, node.output) if alike == operands and each else None
    scaled = [name for name in operands if graph.shape(name) == shape]
    return (*scaled, node.output) if len(scaled) == 1 and value in (*scaled, node.output) else None


def _channel_axis(array: Array, shape: tuple[int, ...]) -> int | None:
    """The axis of a constant operand that channels lie along, where `shape` is the result's; None if it has none."""
    axis = array.ndim - (len(shape) - 1)
    return axis if axis >= 0 and array.shape[axis] == shape[1] else None


def _region(graph: Graph, values: set[str], links: Links) -> Region | None:
    touching = [node for node in graph.nodes if values.intersection((*node.inputs, *node.outputs))]
    bounds = [node for node in touching if _bounds(graph, node, links)]
    inside = tuple(node for node in touching if node not in bounds)
    producers = tuple(node for node in bounds if node.output in values)
    readers = tuple(node for node in bounds if node.inputs[0] in values)
    constants = [
        *(constant for node in producers for constant in made(node)),
        *(constant for node in inside for constant in passed(graph, node)),
        *(read(graph, node) for node in readers),
    ]
    if any(len(graph.consumers[constant.name]) > 1 for constant in constants):
        return None
    ordered = tuple(value for node in graph.nodes for value in node.outputs if value in values)
    return Region(graph.shape(ordered[0])[1], ordered, producers, inside, readers, tuple(constants))


def made(node: Node) -> list[ChannelConstant]:
    """What a node whose output channels share nothing with its input's makes each of them from."""
    output_axis = 1 if node.op == "Gemm" and not node.int("transB") else 0
    weights = ChannelConstant(node.inputs[1], output_axis, 1)
    return [weights, *(ChannelConstant(bias, -1, 1) for bias in node.inputs[2:])]


def read(graph: Graph, node: Node) -> ChannelConstant:
    """What a node that mixes channels weighs each of its input's by."""
    is_first = is_depthwise(graph, node) or (node.op == "Gemm" and not node.int("transB"))
    return ChannelConstant(node.inputs[1], 0 if is_first else 1, -1)


def passed(graph: Graph, node: Node) -> list[ChannelConstant]:
    """What a node that passes each channel on by itself has for each of them."""
    if node.op == "Conv":
        weights = ChannelConstant(node.inputs[1], 0, 0)
        return [weights, *(ChannelConstant(bias, 0, 1) for bias in node.inputs[2:])]
    found = []
    for name in node.inputs:
        axis = _channel_axis(graph.constants[name], graph.shape(node.output)) if graph.is_constant(name) else None
        if axis is not None:
            found.append(ChannelConstant(name, axis, 1 if node.op in ("Add", "Sub") else 0))
    return found
