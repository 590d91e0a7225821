"""Which units compute in float too, where a network computes parts in float anyway.

HardSwish, PReLU, Gelu or a LayerNormalization compute in float in both runtimes.  Beside them, a layer in float saves a
conversion, and the noise of storing what it makes: often it costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgefer.graph.ir import Graph
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.prices import WORTH
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import has_integer_kernel
from edgefer.quantize.solve.solver import LATENCY
from edgefer.quantize.solve.ways import Chain, Noises, units_of


def computes_in_float(graph: Graph, plan: Plan, keep_float: frozenset[str]) -> bool:
    """Whether anything lies in float that has no integer kernel, but for the nodes named."""
    return any(node.name not in keep_float and not has_integer_kernel(graph, node) for node in graph.nodes)


def beside_float(
    graph: Graph, plan: Plan, sensitivity: Sensitivity, machines: Sequence[CostModel]
) -> Sequence[frozenset[str]]:
    """Names of nodes to compute in float: those that are worth it, then as many as `LATENCY` allows, where others.

    Args:
        graph: the float network, its channels equalised.
        plan: in which all computes in int8 that can.
        sensitivity: measures the noise of units.
        machines: what nodes cost; of several the one counts on which a choice costs most.
    """
    units = units_of(graph, plan)
    noises = Noises(graph, plan, sensitivity).of_units(units)
    chains = [Chain(graph, plan, units, noises, costs) for costs in machines]
    ways = [way for chain in chains for way in chain.frontier(LATENCY * chain.full.cost)]
    slower = {way: max(chain.way(way.states).cost / chain.full.cost - 1 for chain in chains) for way in ways}
    chosen = (
        min(ways, key=lambda way: way.noise + WORTH * slower[way]),
        min((way for way in ways if slower[way] <= LATENCY - 1), key=lambda way: way.noise),
    )
    names = (frozenset(node.name for unit in chains[0].floats(way) for node in unit.nodes) for way in chosen)
    return tuple(dict.fromkeys(names))
