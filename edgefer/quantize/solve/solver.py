"""Mixed precision under bounds: which parts of a network compute in float, and which weights take four bits.

The network falls into units at the values through which everything flows.  A unit computes in int8, or in float from
int8-stored weights.  The noise that stored activations add to the heads is measured unit by unit; it adds up, and so
do costs.  So choices are ways along a chain with two states for each unit, of which only those are followed further
that nothing cheaper is as quiet as (dynamic programming).  A few of them are then measured as a whole.

Weights are stored in four bits, where kernels read them as fast, for as many layers as the budget demands, those
first that lose least for each byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from math import inf, isfinite, log10
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import parts
from edgefer.host import cache
from edgefer.host.directories import cache_directory
from edgefer.plan import Compute, Plan, QuantParams
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int4 import can_be_int4, with_int4
from edgefer.quantize.scales.integer_kernels import has_integer_kernel, weight_axis
from edgefer.quantize.scales.ranges import per_channel_symmetric

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
    """

    bytes: int
    drop: float | None = None
    latency: float = inf

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
        plan_of: makes the Plan in which the nodes named compute in float, and all others in int8 that can.
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
    noises = _Noises(graph, base, sensitivity)
    units = _units(graph, base)
    choices: list[tuple[tuple[_Unit, ...], float]] = [((), 1.0)]
    if mixed:
        choices += _frontier(_Chain(graph, base, units, noises.of_units(units), costs), bounds.latency)
    ways: list[tuple[Plan, tuple[str, ...], tuple[str, ...], float]] = []
    for floats, latency in choices:
        names = frozenset(node.name for unit in floats for node in unit.nodes)
        ends = tuple(unit.nodes[-1].name for unit in floats)
        plan = with_stored_weights(graph, plan_of(names), names)
        packed, int4 = _within(graph, plan, bounds.bytes, size, noises)
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


@dataclass(frozen=True)
class _Unit:
    """What lies between two values through which everything flows.

    Attributes:
        nodes: in network order.
        inner: int8 activations that no other unit sees.
        end: the value that the next unit reads, where it may be int8; "" where it may not.
    """

    nodes: tuple[Node, ...]
    inner: tuple[str, ...]
    end: str


def _units(graph: Graph, plan: Plan) -> tuple[_Unit, ...]:
    *chain, last = parts(graph)
    return (*(_unit(plan, part, part.outputs[0]) for part in chain), _unit(plan, last, ""))


def _unit(plan: Plan, part: Graph, end: str) -> _Unit:
    made = [value for node in part.nodes for value in node.outputs if value in plan.tensors]
    return _Unit(part.nodes, tuple(value for value in made if value != end), end if end in made else "")


class _Noises:
    """Noise at the heads of what a Plan stores, measured a part at a time and remembered on disk."""

    def __init__(self, graph: Graph, plan: Plan, sensitivity: Sensitivity) -> None:
        self._graph, self._plan, self._sensitivity = graph, plan, sensitivity

    def of_units(self, units: Sequence[_Unit]) -> list[tuple[float, float]]:
        """For each unit, that of its inner activations, and of its end."""
        parts = [part for unit in units for part in (unit.inner, (unit.end,) if unit.end else ())]
        found = self._remembered("units", parts, self._activations)
        return list(zip(found[::2], found[1::2], strict=True))

    @cached_property
    def of_int4(self) -> Mapping[str, float]:
        """For each node whose weights could take four bits, by name, that of storing them so."""
        nodes = [node for node in self._graph.nodes if can_be_int4(self._graph, self._plan, node)]
        found = self._remembered("int4", [(node.inputs[1],) for node in nodes], self._weights)
        return {node.name: noise for node, noise in zip(nodes, found, strict=True)}

    def _activations(self, values: tuple[str, ...]) -> float:
        stored = {value: self._plan.tensors[value] for value in values}
        return self._sensitivity.noise_of(self._graph, stored) if stored else 0.0

    def _weights(self, values: tuple[str, ...]) -> float:
        (name,) = values
        (node,) = self._graph.consumers[name]
        params = with_int4(self._graph, self._plan, [node]).tensors[name]
        weights = params.dequantize(params.quantize(self._graph.constants[name]))
        return self._sensitivity.noise(self._graph.with_constants({name: weights}), Plan())

    def _remembered(
        self, what: str, parts: Sequence[tuple[str, ...]], measure: Callable[[tuple[str, ...]], float]
    ) -> list[float]:
        path = cache_directory() / "sensitivity" / f"{self._key(what, parts)}.json"
        found = _read(path, len(parts))
        if found is None:
            found = [measure(part) for part in parts]
            cache.store(path, json.dumps(found).encode())
        return found

    def _key(self, what: str, parts: Sequence[tuple[str, ...]]) -> str:
        digest = sha256(to_onnx(self._graph).SerializeToString())
        digest.update(json.dumps([_VERSION, what, parts, self._sensitivity.heads]).encode())
        digest.update(self._plan.to_json().encode())
        for feed in self._sensitivity.feeds:
            for array in feed.values():
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _read(path: Path, count: int) -> list[float] | None:
    """A cache entry; None where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
        return [float(number) for number in found] if len(found) == count else None
    except (OSError, ValueError, TypeError):
        return None


class _Way(NamedTuple):
    """States of the first units of a chain, and what they come to.  The least is the cheapest, then the quietest."""

    cost: float
    noise: float
    states: tuple[Compute, ...]


class _Chain:
    """Units in a row, with what each state of each, and each meeting of two states, costs and adds in noise."""

    def __init__(
        self, graph: Graph, plan: Plan, units: Sequence[_Unit], noises: Sequence[tuple[float, float]], costs: CostModel
    ) -> None:
        self.units = units
        self.costs = costs
        self._states: list[tuple[Compute, ...]] = [
            ("int8", "float") if any(plan.is_int8(node.name) for node in unit.nodes) else ("float",) for unit in units
        ]
        self._unit_costs = [_unit_costs(graph, plan, unit, costs) for unit in units]
        self._conversions = [costs.of_conversion(graph, unit.end) if unit.end else 0.0 for unit in units]
        self._noises = noises
        full = _Way(0.0, 0.0, ())
        for states in self._states:
            full = self._onward(full, states[0])
        self.full = full

    def frontier(self, most: float) -> list[_Way]:
        """Ways that cost at most so much, each quieter than all that cost less."""
        ways = [_Way(0.0, 0.0, ())]
        for states in self._states:
            ways = [
                way
                for state in states
                for way in self._worth_following([self._onward(way, state) for way in ways])
                if way.cost <= most
            ]
        return self._worth_following(ways)

    def _onward(self, way: _Way, state: Compute) -> _Way:
        """One unit further."""
        index = len(way.states)
        cost = way.cost + self._unit_costs[index][state]
        noise = way.noise + (self._noises[index][0] if state == "int8" else 0.0)
        if way.states and "int8" in (way.states[-1], state):
            noise += self._noises[index - 1][1]
            cost += self._conversions[index - 1] if way.states[-1] != state else 0.0
        return _Way(cost, noise, (*way.states, state))

    def _worth_following(self, ways: Sequence[_Way]) -> list[_Way]:
        """Those that nothing cheaper is as quiet as, by rising cost; of many that cost nearly the same, the last."""
        found: list[_Way] = []
        for way in sorted(ways):
            if not found or way.noise < found[-1].noise:
                if len(found) > 1 and way.cost - found[-2].cost < _RESOLUTION * self.full.cost:
                    found.pop()
                found.append(way)
        return found


def _unit_costs(graph: Graph, plan: Plan, unit: _Unit, costs: CostModel) -> dict[Compute, float]:
    computes: list[Compute] = ["int8" if plan.is_int8(node.name) else "float" for node in unit.nodes]
    return {
        "int8": sum(costs.of_node(graph, *each) for each in zip(unit.nodes, computes, strict=True)),
        "float": sum(costs.of_node(graph, node, "float") for node in unit.nodes),
    }


def _frontier(chain: _Chain, allowed: float) -> list[tuple[tuple[_Unit, ...], float]]:
    """Choices worth measuring, as units in float and latency.

    The fastest for each level of noise, and the quietest within the latency that is `allowed`.
    """
    full, overstates = chain.full, chain.costs.overstates

    def cost(latency: float) -> float:
        return full.cost * (1 + (latency - 1) * overstates)

    def floats(way: _Way) -> tuple[_Unit, ...]:
        return tuple(
            unit for unit, state, was in zip(chain.units, way.states, full.states, strict=True) if state != was
        )

    ways = chain.frontier(cost(allowed * _SHOWN))
    fastest = (next((way for way in ways if way.noise <= level * full.noise), full) for level in _LEVELS)
    quietest = max((way for way in ways if way.cost <= cost(allowed)), default=full)
    chosen = {*fastest, quietest} - {full}
    return [(floats(way), 1 + (way.cost / full.cost - 1) / overstates) for way in sorted(chosen)]


def with_stored_weights(graph: Graph, plan: Plan, floats: frozenset[str]) -> Plan:
    """The Plan with int8-stored weights for the nodes that compute in float by choice."""
    weights: dict[str, QuantParams] = {}
    for node in graph.nodes:
        axis = weight_axis(graph, node) if node.name in floats and has_integer_kernel(graph, node) else None
        if axis is not None and graph.is_constant(node.inputs[1]):
            array = graph.constants[node.inputs[1]]
            weights[node.inputs[1]] = per_channel_symmetric(array, axis, floor=np.zeros(array.shape[axis]))
    computes: Mapping[str, Compute] = dict.fromkeys(sorted(floats), "float")
    return Plan({**weights, **plan.tensors}, {**computes, **plan.nodes})


def _within(
    graph: Graph, plan: Plan, budget: int, size: Callable[[Graph, Plan], int], noises: _Noises
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
