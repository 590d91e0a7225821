"""Which groups of channels go: those whose worth is the least for what they take, in bytes or in time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from typing import Protocol

import numpy as np

from edgefer.graph.groups import Chosen, Groups
from edgefer.graph.ir import Graph
from edgefer.graph.labelling import Labels
from edgefer.quantize.costs.cost import TILE, CostModel, work
from edgefer.quantize.costs.prices import int8_cost, working
from edgefer.quantize.scales.ranges import Values

_LEAST_SHARE = 8
"""Of each family of groups this part stays: one of so many."""

_FOR_EACH_OUTPUT = 8
"""Bytes beside its weights that an output channel takes: bias and scale."""


class Measure(Protocol):
    """What is to become less.

    Attributes:
        step: channels that go at once.
    """

    step: int

    def of(self, graph: Graph) -> float:
        """How much a graph takes."""

    def each(self, groups: Groups) -> Values:
        """About how much each of its groups takes."""


class Bytes:
    """About what a graph's weights take in int8."""

    step = 8

    def of(self, graph: Graph) -> float:
        """Of all constants."""
        return float(sum(_bytes(graph, name) for name in graph.constants))

    def each(self, groups: Groups) -> Values:
        """Of what constants hold for each group."""
        found = np.zeros(groups.count + 1)
        for slot in groups.slots:
            np.add.at(found, slot.groups, _bytes(groups.graph, slot.constant) / len(slot.groups))
        return found[:-1]


class Time:
    """What a network takes in int8 by the cost model of a machine."""

    step = TILE

    def __init__(self, machine: CostModel) -> None:
        self._machine = machine

    def of(self, graph: Graph) -> float:
        """Of all nodes."""
        return int8_cost(graph, self._machine)

    def each(self, groups: Groups) -> Values:
        """Of the elements that nodes make of a group, and the multiply-accumulates that make or read them.

        Channels go by whole tiles of kernels, so that what a tile is padded with needs no count here.
        """
        graph, found = groups.graph, np.zeros(groups.count + 1)
        read = {reader.node: reader.labels for reader in groups.readers}
        for node in working(graph, graph.nodes):
            done = work(graph, node)
            line = self._machine.lines[done.kind, "int8"]
            if node.output in groups.values:
                _, labels = groups.values[node.output]
                whole = line.per_element * done.elements + line.per_mac * done.macs
                np.add.at(found, labels, whole * done.channels / len(labels))
            if node.name in read:
                np.add.at(found, read[node.name], line.per_mac * done.macs * done.channels / len(read[node.name]))
        return found[:-1]


def chosen(groups: Groups, worth: Values, measure: Measure, target: float) -> Chosen:
    """The groups of least worth for what they take, without which a network takes no more than `target`.

    Args:
        groups: of the network.
        worth: of each.
        measure: of what they take.
        target: what cannot be reached is come close to.
    """
    each, left, ticket = measure.each(groups), measure.of(groups.graph), count()
    ranked = [family[np.argsort(worth[family], kind="stable")] for family in groups.families]
    widths = _widths(groups)
    gone = [0] * len(ranked)
    queue: list[tuple[float, int, int]] = []

    def following(family: int) -> Labels:
        together = max(measure.step // widths[family], 1)
        whole = len(ranked[family]) - gone[family]
        return ranked[family][gone[family] :][: whole % together or together]

    def offer(family: int) -> None:
        next_ones = following(family)
        least = max(len(ranked[family]) // _LEAST_SHARE, measure.step // widths[family], 1)
        if len(ranked[family]) - gone[family] - len(next_ones) >= least:
            price = worth[next_ones].sum() / max(float(each[next_ones].sum()), 1e-30)
            heapq.heappush(queue, (float(price), next(ticket), family))

    for family in range(len(ranked)):
        offer(family)
    found = np.zeros(groups.count, bool)
    while left > target and queue:
        _, _, family = heapq.heappop(queue)
        going = following(family)
        found[going] = True
        gone[family] += len(going)
        left -= float(each[going].sum())
        offer(family)
    return found


def any_can_go(groups: Groups, measure: Measure) -> bool:
    """Whether there is any group that may be removed, whatever it is worth."""
    return bool(chosen(groups, np.zeros(groups.count), measure, 0.0).any())


def _widths(groups: Groups) -> Sequence[int]:
    """For each family how many channels a group has where it has most."""
    most = np.ones(groups.count, int)
    for slot in groups.slots:
        most = np.maximum(most, np.bincount(slot.groups[slot.groups >= 0], minlength=groups.count))
    return [int(most[family].max()) for family in groups.families]


def _bytes(graph: Graph, name: str) -> int:
    array = graph.constants[name]
    if array.dtype.kind != "f":
        return 0
    return array.size if array.ndim > 1 else array.size * _FOR_EACH_OUTPUT
