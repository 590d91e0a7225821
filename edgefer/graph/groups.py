"""Groups of channels that can only go together, read off the graph, and the graph without some of them.

What a sum adds, a gate multiplies or a shuffle mixes goes together; what lies side by side in a Concat goes by itself;
of attention, a head goes whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.labelling import NONE, Labelling, Labels, Reader, slices

Chosen = npt.NDArray[np.bool_]
"""For each group whether it is meant."""


@dataclass(frozen=True)
class Slot:
    """A constant's axis, and which group each of its entries belongs to."""

    constant: str
    axis: int
    groups: Labels


@dataclass(frozen=True)
class Groups:
    """The groups of a graph, numbered.

    Attributes:
        graph: whose they are.
        family: of each group the number of its family: groups that lie in the same places, as often.
        values: the axis that groups lie along in each value, and the group of each entry; -1 is none.
        slots: the same of constants, once for each axis.
        readers: where layers, products and sums read them.
    """

    graph: Graph
    family: Labels
    values: Mapping[str, tuple[int, Labels]]
    slots: tuple[Slot, ...]
    readers: tuple[Reader, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.family)

    @cached_property
    def families(self) -> tuple[Labels, ...]:
        """The groups of each family."""
        return tuple(np.flatnonzero(self.family == number) for number in range(self.family.max(initial=-1) + 1))

    def found_in(self, groups: Labels, chosen: Chosen) -> Chosen:
        """For each of some entries whether its group is among those chosen."""
        found: Chosen = np.append(chosen, False)[groups]
        return found


def find_groups(graph: Graph) -> Groups:
    """Every group of channels that can go, in network order."""
    found = Labelling(graph)
    values = {value: labels for value, labels in found.values.items() if labels.size > 1}
    made = np.concatenate([np.zeros(0, np.int64), *found.made.values()])
    names, first = np.unique(made[made >= 0], return_index=True)
    number = np.full(found.count + 1, NONE)
    number[names[np.argsort(first)]] = np.arange(len(names))

    def numbered(labels: Labels) -> Labels:
        return number[labels].reshape(-1)

    slots = {}
    for use in found.uses:
        if use.labels.max() >= 0:
            axis = int(np.argmax(use.labels.shape))
            slots[use.constant, axis] = Slot(use.constant, axis, numbered(use.labels))
    reading = [reader for reader in found.readers if reader.labels.max(initial=NONE) >= 0]
    readers = tuple(replace(reader, labels=numbered(reader.labels)) for reader in reading)
    lying = {value: (int(np.argmax(each.shape)), numbered(each)) for value, each in values.items() if each.max() >= 0}
    places = [
        *(groups for _, groups in lying.values()),
        *(slot.groups for slot in slots.values()),
        *(reader.labels for reader in readers),
    ]
    return Groups(graph, _families(len(names), places), lying, tuple(slots.values()), readers)


def _families(count: int, places: list[Labels]) -> Labels:
    """Groups that lie in the same places, as often, have the same sum of the places' random numbers."""
    sums = np.zeros(count + 1, np.uint64)
    for place, weight in zip(places, np.random.default_rng(0).integers(1, 2**63, len(places)), strict=True):
        np.add.at(sums, place, np.uint64(weight))
    _, first, family = np.unique(sums[:count], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[family.reshape(-1)]


def without(groups: Groups, gone: Chosen) -> Graph:
    """The graph without some groups; what reads it lacks what they gave.

    Args:
        groups: of the graph.
        gone: which of them; of each family, one at least stays.
    """
    graph = groups.graph
    constants: dict[str, Array] = {}
    for slot in groups.slots:
        stay = ~groups.found_in(slot.groups, gone)
        if not stay.all():
            array = constants.get(slot.constant, graph.constants[slot.constant])
            constants[slot.constant] = np.ascontiguousarray(array.compress(stay, slot.axis))
    info = {}
    for value, (axis, labels) in groups.values.items():
        was = graph.info[value]
        left = int((~groups.found_in(labels, gone)).sum())
        info[value] = replace(was, shape=(*was.shape[:axis], left, *was.shape[axis + 1 :]))
    smaller = graph.with_constants(constants).with_nodes(graph.nodes, info)
    nodes = []
    for node in graph.nodes:
        changed = any(smaller.shape(value) != graph.shape(value) for value in (*node.inputs, *node.outputs) if value)
        if changed:
            node, stated = _restated(groups, smaller, node, gone)
            smaller = smaller.with_constants(stated)
        nodes.append(node)
    return smaller.with_nodes(nodes)


def weights_axis(graph: Graph, reader: Reader) -> int | None:
    """The axis of a layer's weights that what it reads lies along; None where it has none."""
    node = graph.named[reader.node]
    if node.op == "ReduceSum" or not graph.is_constant(node.input(1)):
        return None
    return 1 if node.op == "Conv" or node.int("transB") else 0


def with_bias(graph: Graph, node: Node, more: Array) -> Graph:
    """The graph with so much more in a reader's bias."""
    has_own = len(node.inputs) > 2 and len(graph.consumers[node.inputs[2]]) == 1
    bias = graph.constants[node.inputs[2]] if len(node.inputs) > 2 else np.zeros(len(more), np.float32)
    name = node.inputs[2] if has_own else fresh_name(graph, f"{node.name}/bias")
    total = (bias.astype(np.float64) + more).astype(np.float32)
    inputs = (*node.inputs[:2], name)
    nodes = [Node(n.name, n.op, inputs, n.outputs, n.attributes, n.activation) if n is node else n for n in graph.nodes]
    return graph.with_constants({name: total}).with_nodes(nodes)


def _restated(groups: Groups, graph: Graph, node: Node, gone: Chosen) -> tuple[Node, Mapping[str, Array]]:
    """A node of the smaller graph, with constants of its own where it states shapes or places."""
    if node.op == "Conv" and node.int("group", 1) > 1:
        return replace(node, attributes={**node.attributes, "group": graph.shape(node.inputs[0])[1]}), {}
    if node.op == "Reshape":
        return _with_own(graph, node, {1: np.array(graph.shape(node.output), np.int64)})
    if node.op == "Resize" and node.input(3):
        return _with_own(graph, node, {3: np.array(graph.shape(node.output), np.int64)})
    if node.op == "Split":
        sizes = [graph.shape(value)[node.int("axis")] for value in node.outputs]
        attributes = {name: value for name, value in node.attributes.items() if name != "num_outputs"}
        whole = replace(node, inputs=(node.inputs[0], node.input(1)), attributes=attributes)
        return _with_own(graph, whole, {1: np.array(sizes, np.int64)})
    if node.op == "Slice":
        windows = slices(groups.graph, node)
        assert windows is not None
        shape = groups.graph.shape(node.inputs[0])
        axes = [axis for axis, size in enumerate(shape) if windows[axis] != slice(0, size)] or [len(shape) - 1]
        if node.inputs[0] in groups.values:
            axis, labels = groups.values[node.inputs[0]]
            before = np.append(0, np.cumsum(~groups.found_in(labels, gone)))
            windows[axis] = slice(int(before[windows[axis].start]), int(before[windows[axis].stop]))
        starts, ends = ([getattr(windows[axis], end) for axis in axes] for end in ("start", "stop"))
        stated = (starts, ends, axes)
        whole = replace(node, inputs=(node.inputs[0], "", "", ""))
        return _with_own(graph, whole, {index + 1: np.array(each, np.int64) for index, each in enumerate(stated)})
    return node, {}


def _with_own(graph: Graph, node: Node, stated: Mapping[int, Array]) -> tuple[Node, Mapping[str, Array]]:
    names = {index: fresh_name(graph, f"{node.name}/input_{index}") for index in stated}
    inputs = tuple(names.get(index, name) for index, name in enumerate(node.inputs))
    return replace(node, inputs=inputs), {names[index]: array for index, array in stated.items()}
