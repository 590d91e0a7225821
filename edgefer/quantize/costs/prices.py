"""What it costs to treat an activation, or saves to leave channels out, so that all treatments are judged alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgefer.graph.ir import Graph, Node
from edgefer.graph.patterns import find_silus
from edgefer.quantize.costs.cost import CostModel, Work, work

WORTH = 0.017
"""Noise over signal at the heads that is worth taking twice as long, where nothing says how long it may take."""


class Prices:
    """What treating a network is worth where it is to be fast."""

    def __init__(self, graph: Graph, machines: Sequence[CostModel], worth: float = WORTH) -> None:
        """All of the network computes in int8.

        Args:
            graph: the network, untreated.
            machines: of several, the one counts on which a treatment costs most, or saves least.
            worth: noise over signal at the heads that is worth taking twice as long.
        """
        self._worth = worth
        works = node_works(graph, graph.nodes)
        self._whole = [(machine, _cost(machine, works)) for machine in machines]

    def of(self, before: Iterable[Work], after: Iterable[Work]) -> float:
        """Noise over signal at the heads that doing the one instead of the other must take away.

        It is negative where less is to do, and then no more noise may be added.
        """
        old, new = list(before), list(after)
        return self._worth * max((_cost(machine, new) - _cost(machine, old)) / whole for machine, whole in self._whole)


def int8_cost(graph: Graph, machine: CostModel) -> float:
    """What a graph takes in full int8, in the machine's unit."""
    return sum(machine.of_node(graph, node, "int8") for node in working(graph, graph.nodes))


def node_works(graph: Graph, nodes: Iterable[Node]) -> list[Work]:
    """What some of a graph's nodes do."""
    return [work(graph, node) for node in working(graph, nodes)]


def working(graph: Graph, nodes: Iterable[Node]) -> list[Node]:
    """Those nodes that do something: the Mul of a SiLU does not, as kernels look it up with its Sigmoid."""
    looked_up = {silu.mul.name for silu in find_silus(graph)}
    return [node for node in nodes if node.name not in looked_up]


def _cost(machine: CostModel, works: Iterable[Work]) -> float:
    return sum(machine.of_work(each, "int8") for each in works)
