"""Remove channels that add nothing: that nothing reads, that are always the same number, or that are there twice.

Training leaves some behind, as where a batch norm's gain became zero; they cost as much as any other.  What a channel
of one number gives is added to the biases of what reads it, and readers of two equal channels read one of them with
both weights: the network's outputs stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.regions import Region, find_regions, is_depthwise, keep, made, passed, read

Known: TypeAlias = npt.NDArray[np.float64]
"""For each channel the number that it always is, all over its map; NaN where it is not always the same."""

_FUNCTIONS: Mapping[str, Callable[[Known], Known]] = {
    "": lambda x: x,
    "Identity": lambda x: x,
    "Flatten": lambda x: x,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "Tanh": np.tanh,
    "GlobalAveragePool": lambda x: x,
    "GlobalMaxPool": lambda x: x,
    "MaxPool": lambda x: x,
}
_KEEP_ZERO = frozenset(["AveragePool", "Elu", "HardSwish", "LeakyRelu", "PRelu"])
_OF_TWO: Mapping[str, Callable[[Known, Known], Known]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


def remove_channels(graph: Graph) -> Graph:
    """Remove the channels of every region that add nothing."""
    while True:
        for region in find_regions(graph):
            smaller = _without_known(graph, region) or _without_equal(graph, region)
            if smaller is not None:
                graph = smaller
                break
        else:
            return graph


def _without_known(graph: Graph, region: Region) -> Graph | None:
    """The graph without channels that are not read, or always the same number; None where there are none."""
    known = _known(graph, region)
    unread, absorbed = np.ones(region.channels, bool), np.ones(region.channels, bool)
    for node in region.readers:
        constant = read(graph, node)
        unread &= ~_rows(graph.constants[constant.name], constant.axis).any(axis=1)
        number = known[node.inputs[0]]
        absorbed &= ~np.isnan(number) & ((number == 0) | (not any(node.ints("pads"))))
    gone = unread | absorbed
    if gone.all():
        gone[0] = False
    if not gone.any():
        return None
    for node in region.readers:
        number = np.where(gone & ~unread, known[node.inputs[0]], 0)
        if number.any():
            graph = _with_bias(graph, node, number @ _sums(graph, node))
    return keep(graph, region, np.flatnonzero(~gone).tolist())


def _without_equal(graph: Graph, region: Region) -> Graph | None:
    """The graph without channels that are as others are; None where there are none."""
    own = [constant for constant in region.constants if constant.power >= 0]
    if not own:
        return None
    rows = [_rows(graph.constants[constant.name], constant.axis) for constant in own]
    first: dict[bytes, int] = {}
    same = {}
    for channel in range(region.channels):
        key = b"".join(row[channel].tobytes() for row in rows)
        if (other := first.setdefault(key, channel)) != channel:
            same[channel] = other
    if not same:
        return None
    arrays: dict[str, Array] = {}
    for node in region.readers:
        constant = read(graph, node)
        array = np.moveaxis(arrays.get(constant.name, graph.constants[constant.name]).copy(), constant.axis, 0)
        for channel, other in same.items():
            array[other] += array[channel]
        arrays[constant.name] = np.ascontiguousarray(np.moveaxis(array, 0, constant.axis))
    return keep(
        graph.with_constants(arrays), region, [channel for channel in range(region.channels) if channel not in same]
    )


def _known(graph: Graph, region: Region) -> Mapping[str, Known]:
    """What is known of each of the region's values, in network order."""
    found: dict[str, Known] = {}
    producers = {node.name for node in region.producers}
    for node in graph.nodes:
        if node.output in region.values:
            number = _made(graph, node) if node.name in producers else _passed(graph, node, found, region.channels)
            function = _FUNCTIONS.get(node.activation)
            found[node.output] = number if function is None else function(number)
    return found


def _made(graph: Graph, node: Node) -> Known:
    weights, *biases = made(node)
    is_zero = np.logical_not(_rows(graph.constants[weights.name], weights.axis).any(axis=1))
    bias = graph.constants[biases[0].name].reshape(-1).astype(np.float64) if biases else np.zeros(is_zero.size)
    return np.where(is_zero, bias, np.nan)


def _passed(graph: Graph, node: Node, found: Mapping[str, Known], channels: int) -> Known:
    """What a node that passes each channel on by itself makes of what is known."""
    if is_depthwise(graph, node):
        weights, *biases = passed(graph, node)
        bias = graph.constants[biases[0].name].astype(np.float64) if biases else np.zeros(channels)
        is_zero = ~_rows(graph.constants[weights.name], 0).any(axis=1)
        return np.where(is_zero | (found[node.inputs[0]] == 0), bias, np.nan)
    if node.op in _OF_TWO and len(node.inputs) == 2:
        first, second = (_operand(graph, node, value, found, channels) for value in node.inputs)
        number = _OF_TWO[node.op](first, second)
        return np.where((first == 0) | (second == 0), 0.0, number) if node.op == "Mul" else number
    number = found[node.inputs[0]]
    if node.op in _FUNCTIONS:
        return _FUNCTIONS[node.op](number)
    return np.where((number == 0) & (node.op in _KEEP_ZERO), 0.0, np.nan)


def _operand(graph: Graph, node: Node, value: str, found: Mapping[str, Known], channels: int) -> Known:
    if value in found:
        return found[value]
    if not graph.is_constant(value):
        return np.full(channels, np.nan)
    array = np.broadcast_to(graph.constants[value], np.broadcast_shapes(graph.shape(value), graph.shape(node.output)))
    rows = _rows(array, 1)
    return np.where((rows == rows[:, :1]).all(axis=1), rows[:, 0], np.nan).astype(np.float64)


def _rows(array: Array, axis: int) -> Array:
    """What a constant holds for each channel, (channels, numbers)."""
    rows: Array = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    return rows


def _sums(graph: Graph, node: Node) -> Array:
    """What a reader gives for a channel that is 1 everywhere, float64 (channels, outputs)."""
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    constant = read(graph, node)
    by_output: Array = weights.reshape(*weights.shape[:2], -1).sum(axis=2)
    return by_output.T if constant.axis == 1 else by_output


def _with_bias(graph: Graph, node: Node, more: Array) -> Graph:
    """The graph with so much more in a reader's bias."""
    has_own = len(node.inputs) > 2 and len(graph.consumers[node.inputs[2]]) == 1
    bias = graph.constants[node.inputs[2]] if len(node.inputs) > 2 else np.zeros(len(more), np.float32)
    name = node.inputs[2] if has_own else fresh_name(graph, f"{node.name}/bias")
    total = (bias.astype(np.float64) + more).astype(np.float32)
    inputs = (*node.inputs[:2], name)
    nodes = [Node(n.name, n.op, inputs, n.outputs, n.attributes, n.activation) if n is node else n for n in graph.nodes]
    return graph.with_constants({name: total}).with_nodes(nodes)
