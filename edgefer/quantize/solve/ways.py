"""Units of a network that compute in int8 or in float: the noise that each adds, and the cheapest quiet ways.

The network falls into units at the values through which everything flows.  A unit computes in int8, or in float from
int8-stored weights.  The noise that stored activations add to the heads is measured unit by unit; it adds up, and so
do costs.  So choices are ways along a chain with two states for each unit, of which only those are followed further
that nothing cheaper is as quiet as (dynamic programming).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import parts
from edgefer.host import cache
from edgefer.host.directories import cache_directory
from edgefer.plan import Compute, Plan, QuantParams
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int4 import can_be_int4, with_int4
from edgefer.quantize.scales.integer_kernels import has_integer_kernel, weight_axis
from edgefer.quantize.scales.ranges import per_channel_symmetric

_RESOLUTION = 1 / 2048  # of the full-int8 cost: of ways closer than this, one is followed
_VERSION = 3  # of what a cache entry means


@dataclass(frozen=True)
class Unit:
    """What lies between two values through which everything flows.

    Attributes:
        nodes: in network order.
        inner: int8 activations that no other unit sees.
        end: the value that the next unit reads, where it may be int8; "" where it may not.
    """

    nodes: tuple[Node, ...]
    inner: tuple[str, ...]
    end: str


def units_of(graph: Graph, plan: Plan) -> tuple[Unit, ...]:
    """All of them, in network order."""
    *chain, last = parts(graph)
    return (*(_unit(plan, part, part.outputs[0]) for part in chain), _unit(plan, last, ""))


def _unit(plan: Plan, part: Graph, end: str) -> Unit:
    made = [value for node in part.nodes for value in node.outputs if value in plan.tensors]
    return Unit(part.nodes, tuple(value for value in made if value != end), end if end in made else "")


class Noises:
    """Noise at the heads of what a Plan stores, measured a part at a time and remembered on disk."""

    def __init__(self, graph: Graph, plan: Plan, sensitivity: Sensitivity) -> None:
        self._graph, self._plan, self._sensitivity = graph, plan, sensitivity

    def of_units(self, units: Sequence[Unit]) -> list[tuple[float, float]]:
        """For each unit, what its inner activations add, and its end, to that of channels that are left out."""
        parts = [part for unit in units for part in (unit.inner, (unit.end,) if unit.end else ())]
        found = self._remembered("units", parts, self._activations)
        return list(zip(found[::2], found[1::2], strict=True))

    @cached_property
    def of_int4(self) -> Mapping[str, float]:
        """For each node whose weights could take four bits, by name, that of storing them so."""
        nodes = [node for node in self._graph.nodes if can_be_int4(self._graph, self._plan, node)]
        found = self._remembered("int4", [(node.inputs[1],) for node in nodes], self._weights)
        return {node.name: noise for node, noise in zip(nodes, found, strict=True)}

    @cached_property
    def _before(self) -> float:
        """That of the float graph, which may lack channels."""
        return self._sensitivity.noise_of(self._graph, {})

    def _activations(self, values: tuple[str, ...]) -> float:
        stored = {value: self._plan.tensors[value] for value in values}
        return max(self._sensitivity.noise_of(self._graph, stored) - self._before, 0.0) if stored else 0.0

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


class Way(NamedTuple):
    """States of the first units of a chain, and what they come to.  The least is the cheapest, then the quietest."""

    cost: float
    noise: float
    states: tuple[Compute, ...]


class Chain:
    """Units in a row, with what each state of each, and each meeting of two states, costs and adds in noise."""

    def __init__(
        self, graph: Graph, plan: Plan, units: Sequence[Unit], noises: Sequence[tuple[float, float]], costs: CostModel
    ) -> None:
        self.units = units
        self.costs = costs
        self._states: list[tuple[Compute, ...]] = [
            ("int8", "float") if any(plan.is_int8(node.name) for node in unit.nodes) else ("float",) for unit in units
        ]
        self._unit_costs = [_unit_costs(graph, plan, unit, costs) for unit in units]
        self._conversions = [costs.of_conversion(graph, unit.end) if unit.end else 0.0 for unit in units]
        self._noises = noises
        self.full = self.way([states[0] for states in self._states])

    def way(self, states: Iterable[Compute]) -> Way:
        """What units in these states come to."""
        return reduce(self._onward, states, Way(0.0, 0.0, ()))

    def floats(self, way: Way) -> tuple[Unit, ...]:
        """The units that compute in float by choice."""
        return tuple(
            unit for unit, state, was in zip(self.units, way.states, self.full.states, strict=True) if state != was
        )

    def frontier(self, most: float) -> list[Way]:
        """Ways that cost at most so much, each quieter than all that cost less."""
        ways = [Way(0.0, 0.0, ())]
        for states in self._states:
            ways = [
                way
                for state in states
                for way in self._worth_following([self._onward(way, state) for way in ways])
                if way.cost <= most
            ]
        return self._worth_following(ways)

    def _onward(self, way: Way, state: Compute) -> Way:
        """One unit further."""
        index = len(way.states)
        cost = way.cost + self._unit_costs[index][state]
        noise = way.noise + (self._noises[index][0] if state == "int8" else 0.0)
        if way.states and "int8" in (way.states[-1], state):
            noise += self._noises[index - 1][1]
            cost += self._conversions[index - 1] if way.states[-1] != state else 0.0
        return Way(cost, noise, (*way.states, state))

    def _worth_following(self, ways: Sequence[Way]) -> list[Way]:
        """Those that nothing cheaper is as quiet as, by rising cost; of many that cost nearly the same, the last."""
        found: list[Way] = []
        for way in sorted(ways):
            if not found or way.noise < found[-1].noise:
                if len(found) > 1 and way.cost - found[-2].cost < _RESOLUTION * self.full.cost:
                    found.pop()
                found.append(way)
        return found


def _unit_costs(graph: Graph, plan: Plan, unit: Unit, costs: CostModel) -> dict[Compute, float]:
    computes: list[Compute] = ["int8" if plan.is_int8(node.name) else "float" for node in unit.nodes]
    return {
        "int8": sum(costs.of_node(graph, *each) for each in zip(unit.nodes, computes, strict=True)),
        "float": sum(costs.of_node(graph, node, "float") for node in unit.nodes),
    }


def with_stored_weights(graph: Graph, plan: Plan, floats: frozenset[str]) -> Plan:
    """The Plan with int8-stored weights for the nodes that compute in float by choice."""
    weights: dict[str, QuantParams] = {}
    for node in graph.nodes:
        axis = weight_axis(graph, node) if node.name in floats and has_integer_kernel(graph, node) else None
        if axis is not None and graph.is_constant(node.inputs[1]):
            array = graph.constants[node.inputs[1]]
            weights[node.inputs[1]] = per_channel_symmetric(array, axis, floor=np.zeros(array.shape[axis]))
    computes: Mapping[str, Compute] = dict.fromkeys(sorted(floats & graph.named.keys()), "float")
    return Plan({**weights, **plan.tensors}, {**computes, **plan.nodes})
