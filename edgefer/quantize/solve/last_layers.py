"""The last layers compute in float where rounding what they answer is much of what int8 adds.

A head's few numbers share one scale, with what they have in common taking most of its range; a ResNet-18 whose other
layers add next to nothing had 0.07 of a logit for a step, and no other noise.  In float, from int8-stored weights, such
a layer costs next to nothing; where it costs more, more noise must go with it: of what the network has once layers are
corrected, which takes away much of what others add, and nothing of what rounding answers does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgefer.graph.ir import Graph
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.prices import int8_cost
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import weight_axis

NOTABLE = 0.1
"""The share of the noise that correction leaves that must go with it: else integers stay integers."""

HALVING = 0.1
"""The share of a network's time that halving the noise is worth."""


def last_in_float(
    graph: Graph,
    sensitivity: Sensitivity,
    planned: Callable[[frozenset[str]], Plan],
    keep_float: frozenset[str],
    machines: Sequence[CostModel],
) -> tuple[frozenset[str], float]:
    """Names of the last layers, where they are to compute in float, and the noise that int8 adds to the rest.

    Args:
        graph: the network, whose heads are those of the float network.
        sensitivity: measures noise at the heads.
        planned: how the graph is stored where nodes of these names compute in float.
        keep_float: names of nodes that compute in float in any case.
        machines: what nodes cost; of several the one counts on which this costs most.
    """
    plan = planned(frozenset())
    everything, left = sensitivity.noise_and_left(graph, plan)
    last = _last_layers(graph, sensitivity.heads) - keep_float
    if not last or sensitivity.noise_of_heads(plan) < NOTABLE * left:
        return frozenset(), everything
    others, left_of_others = sensitivity.noise_and_left(graph, planned(last))
    slower = max(_slower(graph, last, machine) for machine in machines)
    is_worth_it = left_of_others <= min(1 - NOTABLE, 2 ** (-slower / HALVING)) * left
    return (last, others) if is_worth_it else (frozenset(), everything)


def _last_layers(graph: Graph, heads: Sequence[str]) -> frozenset[str]:
    """The layers that heads are read off, and all behind them."""
    wanted, found = set(heads), set()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            found.add(node.name)
            wanted.update(() if weight_axis(graph, node) is not None else node.inputs)
    return frozenset(found)


def _slower(graph: Graph, floats: frozenset[str], machine: CostModel) -> float:
    """By what share of its time in full int8 the network takes longer."""
    nodes = [node for node in graph.nodes if node.name in floats]
    more = sum(machine.of_node(graph, node, "float") - machine.of_node(graph, node, "int8") for node in nodes)
    return more / int8_cost(graph, machine)
