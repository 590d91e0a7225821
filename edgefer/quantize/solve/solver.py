"""Mixed precision under bounds: which parts of a network compute in float, and which weights take four bits.

Of the ways for units to compute in int8 or in float that nothing cheaper is as quiet as, a few are measured as a whole.

Weights are stored in four bits, where kernels read them as fast, for as many layers as the budget demands, those
first that lose least for each byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log10
from typing import Any

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int4 import can_be_int4, with_int4
from edgefer.quantize.solve.ways import Chain, Noises, Unit, units_of

LATENCY = 1.25
"""With `--mixed`, a network may take at most so many times as long as the full-int8 one, by the cost model."""

_LEVELS = np.arange(1, 0, -1 / 12)  # of the noise that activations add in full int8: a choice for each is measured
_RESOLUTION = 1 / 2048  # of the full-int8 cost: of ways closer than this, one is followed
_SHOWN = 1.1  # times the latency that is allowed: how far the frontier is followed
_VERSION = 2  # of what a cache entry means


@dataclass(frozen=True)
class Bounds:
    """What a solution must keep.

    Attributes:
        bytes: of the largest artifact.
        drop: what the caller measures, in percent; None asks for as little noise as the others allow.
        latency: times the full-int8 network's, by the cost model; infinite where that is no matter.
        four_bits: whether weights may take four bits for it, which accelerators hardly read.
    """

    bytes: int
    drop: float | None = None
    latency: float = inf
    four_bits: bool = True

    def drop_over(self, drop: float) -> float:
        """By how much a drop exceeds its bound, in percent; 0 where it keeps it, or there is none."""
        return 0.0 if self.drop is None else max(drop - self.drop, 0.0)


@dataclass(frozen=True)
class Point:
    """One way to store the network, and what it comes to.

    Attributes:
        plan: the way.
        floats: units that compute in float from int8-stored weights, each by its last node's name.
        int4: nodes whose weights are stored in four bits.
        bytes: of the largest artifact.
        noise: over signal, at the heads.
        drop: what the caller measures, in percent.
        latency: times the full-int8 network's, by the cost model.
    """

    plan: Plan
    floats: tuple[str, ...]
    int4: tuple[str, ...]
    bytes: int
    noise: float
    drop: float
    latency: float

    def to_dict(self) -> dict[str, Any]:
        """What is shown of it: plain data."""
        return {
            "float": list(self.floats),
            "int4": list(self.int4),
            "bytes": self.bytes,
            "sqnr_db": -10 * log10(self.noise) if self.noise else None,
            "drop": self.drop,
            "latency": self.latency,
        }


@dataclass(frozen=True)
class Solution:
    """The points on the frontier, and the one chosen.

    Attributes:
        points: full int8 first, also where it is over the budget; then from the fastest.
        chosen: one of them.
        graph: finished for it.
        bounds: what was asked for.
        machine: whose costs latencies are by.
    """

    points: tuple[Point, ...]
    chosen: Point
    graph: Graph
    bounds: Bounds
    machine: str

    @property
    def bytes_over(self) -> int:
        """By how much the budget is missed; 0 where it is kept."""
        return max(self.chosen.bytes - self.bounds.bytes, 0)

    @property
    def drop_over(self) -> float:
        """By how much the drop exceeds its bound, in percent; 0 where it is kept."""
        return self.bounds.drop_over(self.chosen.drop)

    def improved(self, graph: Graph, bytes: int, noise: float, drop: float) -> Solution:
        """The same with what the chosen point comes to after more was done for it alone."""
        better = replace(self.chosen, bytes=bytes, noise=noise, drop=drop)
        points = tuple(better if point is self.chosen else point for point in self.points)
        return replace(self, points=points, chosen=better, graph=graph)

    def to_dict(self) -> dict[str, Any]:
        """For manifest and report: plain data."""
        return {
            "points": [{**point.to_dict(), "chosen": point is self.chosen} for point in self.points],
            "bytes_over": self.bytes_over,
            "drop_over": self.drop_over,
            "budget_bytes": self.bounds.bytes,
            "max_drop": self.bounds.drop,
            "max_latency": self.bounds.latency if isfinite(self.bounds.latency) else None,
            "costs_of": self.machine,
        }


def solve(
    graph: Graph,
    plan_of: Callable[[frozenset[str]], Plan],
    bounds: Bounds,
    sensitivity: Sensitivity,
    *,
    size: Callable[[Graph, Plan], int],
    judge: Callable[[Graph, Plan], tuple[float, float]],
    finish: Callable[[Graph, Plan], tuple[Graph, Plan]] = lambda graph, plan: (graph, plan),
    mixed: bool = True,
    costs: CostModel = LITERT_X86,
    advance: Callable[[], None] = lambda: None,
) -> Solution:
    """The fastest way to store the network that keeps all bounds, or else the best trade-off.

    Where no drop is asked for, the one whose activations are least noisy that keeps the others.

    Args:
        graph: the float network, its channels equalised.
        plan_of: makes the Plan in which the nodes named compute in float from stored weights, and all others in int8
            that can.
        bounds: what must be kept.
        sensitivity: measures the noise of parts, on few images.
        size: bytes of the largest artifact of a graph and its Plan.
        judge: measures the whole, on many images: noise over signal at the heads, and the drop, in percent.
        finish: what is done to the graph and its Plan before they are measured, like correcting layers.
        mixed: whether units may compute in float.
        costs: what nodes cost where it is to be fast.
        advance: called after each point that was measured.
    """
    base = plan_of(frozenset())
    noises = Noises(graph, base, sensitivity)
    units = units_of(graph, base)
    choices: list[tuple[tuple[Unit, ...], float]] = [((), 1.0)]
    if mixed:
        choices += _frontier(Chain(graph, base, units, noises.of_units(units), costs), bounds.latency)
    ways: list[tuple[Plan, tuple[str, ...], tuple[str, ...], float]] = []
    for floats, latency in choices:
        names = frozenset(node.name for unit in floats for node in unit.nodes)
        ends = tuple(unit.nodes[-1].name for unit in floats)
        plan = plan_of(names)
        packed, int4 = _within(graph, plan, bounds.bytes, size, noises) if bounds.four_bits else (plan, ())
        if int4 and not floats:
            ways.append((plan, ends, (), latency))  # shows what the budget costs
        ways.append((packed, ends, int4, latency))
    points: list[Point] = []
    chosen = graph
    for plan, ends, int4, latency in ways:
        stored, plan = finish(graph, plan)
        points.append(Point(plan, ends, int4, size(stored, plan), *judge(stored, plan), latency))
        if _best(points, bounds) is points[-1]:
            chosen = stored  # the others would take megabytes each
        advance()
    return Solution(tuple(points), _best(points, bounds), chosen, bounds, costs.machine)


def _best(points: Sequence[Point], bounds: Bounds) -> Point:
    """The first bound that cannot be kept is missed by as little as can be; then the next."""

    def order(point: Point) -> tuple[float, ...]:
        slower, larger = max(point.latency - bounds.latency, 0), max(point.bytes - bounds.bytes, 0)
        return slower, larger, bounds.drop_over(point.drop), point.noise if bounds.drop is None else point.latency

    return min(points, key=order)


def _frontier(chain: Chain, allowed: float) -> list[tuple[tuple[Unit, ...], float]]:
    """Choices worth measuring, as units in float and latency.

    The fastest for each level of noise, and the quietest within the latency that is `allowed`.
    """
    full, overstates = chain.full, chain.costs.overstates

    def cost(latency: float) -> float:
        return full.cost * (1 + (latency - 1) * overstates)

    ways = chain.frontier(cost(allowed * _SHOWN))
    fastest = (next((way for way in ways if way.noise <= level * full.noise), full) for level in _LEVELS)
    quietest = max((way for way in ways if way.cost <= cost(allowed)), default=full)
    chosen = {*fastest, quietest} - {full}
    return [(chain.floats(way), 1 + (way.cost / full.cost - 1) / overstates) for way in sorted(chosen)]


def _within(
    graph: Graph, plan: Plan, budget: int, size: Callable[[Graph, Plan], int], noises: Noises
) -> tuple[Plan, tuple[str, ...]]:
    """The Plan with four-bit weights for as many layers as the budget demands, and their nodes' names.

    Layers are taken in order of the noise that each byte costs, until the budget is kept; then those are given back,
    from the last, that are not needed after all.  Where all of them are too few, nothing is measured.
    """

    def saved(node: Node) -> int:
        return graph.constants[node.inputs[1]].size // 2

    full = size(graph, plan)
    excess = full - budget
    nodes = [node for node in graph.nodes if excess > 0 and can_be_int4(graph, plan, node)]
    packed = with_int4(graph, plan, nodes)
    if nodes and (least := size(graph, packed)) > budget:
        is_smaller = least < full  # what unpacks four bits may take more than they save
        return (packed, tuple(node.name for node in nodes)) if is_smaller else (plan, ())
    nodes.sort(key=lambda node: (noises.of_int4[node.name] / graph.constants[node.inputs[1]].size, node.name))
    count = 0
    while excess > 0 and count < len(nodes):
        while excess > 0 and count < len(nodes):
            excess -= saved(nodes[count])
            count += 1
        excess = size(graph, with_int4(graph, plan, nodes[:count])) - budget
    chosen = nodes[:count]
    for node in reversed(nodes[:count]):
        fewer = [other for other in chosen if other is not node]
        if excess + saved(node) <= 0 and size(graph, with_int4(graph, plan, fewer)) <= budget:
            chosen = fewer
            excess += saved(node)
    return with_int4(graph, plan, chosen), tuple(node.name for node in chosen)
