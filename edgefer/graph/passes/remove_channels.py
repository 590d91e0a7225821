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

from edgefer.graph.groups import Groups, Slot, find_groups, weights_axis, with_bias, without
from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.labelling import Reader, compressed, moved
from edgefer.graph.regions import is_depthwise

Known: TypeAlias = npt.NDArray[np.float64]
"""The number that each element of a value always is, NaN where it is not always the same; of length 1 along axes that
this does not depend on."""

_FUNCTIONS: Mapping[str, Callable[[Known], Known]] = {
    "": lambda x: x,
    "Identity": lambda x: x,
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "Sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)),
    "Tanh": np.tanh,
    "GlobalAveragePool": lambda x: x,
    "GlobalMaxPool": lambda x: x,
    "MaxPool": lambda x: x,
}
_KEEP_ZERO = frozenset(["AveragePool", "Elu", "Gelu", "HardSwish", "LeakyRelu", "PRelu"])
_OVER_MAPS = frozenset(["Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "AveragePool"])
_OF_TWO: Mapping[str, Callable[[Known, Known], Known]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


def remove_channels(graph: Graph) -> Graph:
    """Remove the channels of every group that add nothing."""
    while True:
        groups = find_groups(graph)
        smaller = _without_known(groups) or _without_equal(groups)
        if smaller is None:
            return graph
        graph = smaller


def _without_known(groups: Groups) -> Graph | None:
    """The graph without channels that are not read, or always the same number; None where there are none."""
    graph, known = groups.graph, _known(groups)
    is_read, stays = np.zeros(groups.count + 1, bool), np.zeros(groups.count + 1, bool)
    numbers: list[tuple[Reader, Known]] = []
    for reader in groups.readers:
        node = graph.named[reader.node]
        number = _along(known[node.inputs[reader.index]], reader)
        unread = _unread(graph, reader)
        absorbed = (number == 0) | (~np.isnan(number) & _takes_numbers(graph, node))
        is_read[reader.labels] = True
        np.logical_or.at(stays, reader.labels, ~(unread | absorbed))
        numbers.append((reader, np.where(unread, 0, number)))
    gone = (is_read & ~stays)[:-1]
    for family in groups.families:
        if gone[family].all():
            gone[family[0]] = False
    if not gone.any():
        return None
    smaller = graph
    for reader, number in numbers:
        given = np.where(groups.found_in(reader.labels, gone), number, 0)
        if given.any():
            smaller = with_bias(smaller, smaller.named[reader.node], given @ _sums(smaller, reader))
    return without(find_groups(smaller), gone)


def _without_equal(groups: Groups) -> Graph | None:
    """The graph without channels that are as others are; None where there are none."""
    graph = groups.graph
    read = {(graph.named[reader.node].inputs[1], weights_axis(graph, reader)): reader for reader in groups.readers}
    own: list[Slot] = [slot for slot in groups.slots if (slot.constant, slot.axis) not in read]
    alone = np.ones(groups.count, bool)
    for _, labels in groups.values.values():
        alone &= np.bincount(labels[labels >= 0], minlength=groups.count) <= 1
    keys: list[list[bytes]] = [[b"%d" % family] for family in groups.family]
    for slot in own:
        rows = _rows(graph.constants[slot.constant], slot.axis)
        for row, group in zip(rows, slot.groups, strict=True):
            if group >= 0 and alone[group]:
                keys[group].append(row.tobytes())
    first: dict[bytes, int] = {}
    same = np.arange(groups.count)
    for group in np.flatnonzero(alone):
        if len(keys[group]) > 1:
            same[group] = first.setdefault(b"".join(keys[group]), int(group))
    gone = same != np.arange(groups.count)
    if not gone.any():
        return None
    arrays: dict[str, Array] = {}
    for (name, axis), reader in read.items():
        if axis is None or not groups.found_in(reader.labels, gone).any():
            continue
        array = np.moveaxis(arrays.get(name, graph.constants[name]).copy(), axis, 0)
        place = {int(group): index for index, group in enumerate(reader.labels)}
        for group in reader.labels[groups.found_in(reader.labels, gone)]:
            array[place[int(same[group])]] += array[place[int(group)]]
        arrays[name] = np.ascontiguousarray(np.moveaxis(array, 0, axis))
    return without(find_groups(graph.with_constants(arrays)), gone)


def _unread(graph: Graph, reader: Reader) -> Array:
    """Which entries of what it reads a layer has no weights for but zeros."""
    axis = weights_axis(graph, reader)
    if axis is None:
        return np.zeros(reader.labels.shape, bool)
    return np.logical_not(_rows(graph.constants[graph.named[reader.node].inputs[1]], axis).any(axis=1))


def _takes_numbers(graph: Graph, node: Node) -> bool:
    """Whether what a number gives all over the map can go into the node's bias."""
    return node.op in ("Conv", "Gemm") and not any(node.ints("pads"))


def _known(groups: Groups) -> Mapping[str, Known]:
    """What is known of each value."""
    graph = groups.graph
    found: dict[str, Known] = {}
    for node in graph.nodes:
        given = [_operand(graph, node, value, found) for value in node.inputs if value]
        outputs = moved(graph, node, given[:1] if node.op != "Concat" else given)
        if outputs is None:
            outputs = [_made(groups, node, given)] * len(node.outputs)
        function = _FUNCTIONS.get(node.activation)
        for value, number in zip(node.outputs, outputs, strict=True):
            found[value] = compressed(number if function is None else function(number))
    return found


def _made(groups: Groups, node: Node, given: list[Known]) -> Known:
    """What a node makes of what is known of its inputs."""
    graph = groups.graph
    rank = len(graph.shape(node.output))
    unknown = np.full((1,) * rank, np.nan)
    if node.output not in groups.values:
        return unknown
    if node.op in _OVER_MAPS:
        given = [_everywhere(given[0]), *given[1:]]
    if node.op in ("Conv", "Gemm"):
        axis = 1 if node.op == "Gemm" and not node.int("transB") else 0
        is_zero = ~_rows(graph.constants[node.inputs[1]], axis).any(axis=1)
        if is_depthwise(graph, node):
            is_zero |= np.broadcast_to((_everywhere(given[0]) == 0).all(axis=0).reshape(-1), is_zero.shape)
        bias = graph.constants[node.inputs[2]].reshape(-1).astype(np.float64) if len(node.inputs) > 2 else 0.0
        return np.where(is_zero, bias, np.nan).reshape(1, -1, *([1] * (rank - 2)))
    if node.op in _OF_TWO and len(given) == 2:
        number = _OF_TWO[node.op](*given)
        return np.where((given[0] == 0) | (given[1] == 0), 0.0, number) if node.op == "Mul" else number
    if node.op in _FUNCTIONS:
        return _FUNCTIONS[node.op](given[0])
    return np.where(given[0] == 0, 0.0, np.nan) if node.op in _KEEP_ZERO else unknown


def _everywhere(number: Known) -> Known:
    """What is known of each channel all over its map; NaN where places differ, as a rearrangement may leave them."""
    rows = number.reshape(*number.shape[:2], -1)
    first = rows[..., :1]
    same = (rows == first).all(axis=2, keepdims=True)
    return np.where(same, first, np.nan).reshape(*number.shape[:2], *([1] * (number.ndim - 2)))


def _operand(graph: Graph, node: Node, value: str, found: Mapping[str, Known]) -> Known:
    if not graph.is_constant(value):
        return found.get(value, np.full((1,) * len(graph.shape(value)), np.nan))
    array = graph.constants[value]
    if node.op not in _OF_TWO or array.dtype.kind != "f":
        return np.full((1,) * array.ndim, np.nan)
    return compressed(
        array.astype(np.float64).reshape((1,) * (len(graph.shape(node.output)) - array.ndim) + array.shape)
    )


def _along(number: Known, reader: Reader) -> Known:
    """What is known of each entry of the axis that is read."""
    if number.size != number.shape[reader.axis]:
        return np.full(reader.labels.size, np.nan)
    return np.broadcast_to(number.reshape(-1), reader.labels.shape)


def _rows(array: Array, axis: int) -> Array:
    """What a constant holds for each entry of an axis, (entries, numbers)."""
    rows: Array = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    return rows


def _sums(graph: Graph, reader: Reader) -> Array:
    """What a Conv or Gemm gives for a channel that is 1 everywhere, float64 (channels, outputs)."""
    weights = graph.constants[graph.named[reader.node].inputs[1]].astype(np.float64)
    by_output: Array = weights.reshape(*weights.shape[:2], -1).sum(axis=2)
    return by_output.T if weights_axis(graph, reader) == 1 else by_output
