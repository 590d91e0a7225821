"""The last layers compute in float where rounding what they answer is much of what int8 adds.

A head's few numbers share one scale, with what they have in common taking most of its range; a ResNet-18 whose other
layers add next to nothing had 0.07 of a logit for a step, and no other noise.  In float, from int8-stored weights, such
a layer costs next to nothing; where it costs more, more noise must go with it: of what the network has once layers are
corrected, which takes away much of what others add, and nothing of what rounding answers does.  So may those before
them: of a BiLSTM's clip, briefly trained, the sums before its gates were nearly all that was lost, and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgefer.graph.ir import Graph
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.prices import int8_cost
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import weight_axis

NOTABLE = 0.1
"""The share of the noise that correction leaves that must go with it: else integers stay integers."""

HALVING = 0.1
"""The share of a network's time that halving the noise is worth, and that these layers may add."""


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
    chosen, others, cost = frozenset[str](), everything, left
    if sensitivity.noise_of_heads(plan) < NOTABLE * left:
        return chosen, others
    tails = dict.fromkeys(layers - keep_float for layers in _last_layers(graph, sensitivity.heads))
    for last in filter(None, tails):
        slower = max(_slower(graph, last, machine) for machine in machines)
        if slower > HALVING:
            break
        noise, left_of_others = sensitivity.noise_and_left(graph, planned(last))
        if left_of_others <= (1 - NOTABLE) * left and left_of_others * 2 ** (slower / HALVING) < cost:
            chosen, others, cost = last, noise, left_of_others * 2 ** (slower / HALVING)
    return chosen, others


def _last_layers(graph: Graph, heads: Sequence[str]) -> Iterator[frozenset[str]]:
    """The layers that heads are read off, and all behind them; then those before as well, and so on."""
    wanted, found = set(heads), set[str]()
    while wanted:
        before = set[str]()
        for node in reversed(graph.nodes):
            if node.name not in found and wanted.intersection(node.outputs):
                found.add(node.name)
                (before if weight_axis(graph, node) is not None else wanted).update(node.inputs)
        yield frozenset(found)
        wanted = before & graph.producers.keys()


def _slower(graph: Graph, floats: frozenset[str], machine: CostModel) -> float:
    """By what share of its time in full int8 the network takes longer."""
    nodes = [node for node in graph.nodes if node.name in floats]
    more = sum(machine.of_node(graph, node, "float") - machine.of_node(graph, node, "int8") for node in nodes)
    return more / int8_cost(graph, machine)
