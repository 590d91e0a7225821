"""What nodes cost in int8 and in float: lines through what was measured, so that equal graphs cost the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, NamedTuple, get_args

from edgefer.graph.ir import Graph, Node
from edgefer.graph.macs import node_macs
from edgefer.plan import Compute

KINDS = ("Dense", "Depthwise", "Elementwise", "GlobalAveragePool", "Sigmoid")
"""Nodes with weights by their kernels, others by their operator, with one name for all that is left."""


class Line(NamedTuple):
    """What a kind of node costs."""

    per_node: float
    per_element: float
    per_mac: float

    def at(self, elements: int, macs: int) -> float:
        """Cost of a node that makes so many elements with so many multiply-accumulates."""
        return self.per_node + self.per_element * elements + self.per_mac * macs


@dataclass(frozen=True)
class CostModel:
    """What nodes cost on one machine.

    Attributes:
        machine: in words.
        unit: of all costs: `ns`, or `instructions` on an emulated board.
        lines: by kind, and by what nodes of it compute in.
        conversion: between int8 and float, once for each value that meets both.
        overstates: what parts in float add to a network's cost by this model, over what measurement finds; assumed
            to be 1 where whole networks were not measured.
    """

    machine: str
    unit: str
    lines: Mapping[tuple[str, Compute], Line]
    conversion: Line
    overstates: float = 1.0

    def of_node(self, graph: Graph, node: Node, compute: Compute) -> float:
        """Cost of one run of `node`."""
        return self.lines[kind(graph, node), compute].at(elements(graph, node), node_macs(graph, node))

    def of_conversion(self, graph: Graph, value: str) -> float:
        """Cost of converting `value` between int8 and float."""
        return self.conversion.at(prod(graph.shape(value)), 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, of what was measured operator by operator."""
        lines = {
            name: {compute: self.lines[name, compute]._asdict() for compute in get_args(Compute)} for name in KINDS
        }
        return {
            "machine": self.machine,
            "unit": self.unit,
            "lines": lines,
            "conversion": self.conversion._asdict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostModel:
        """The model that `to_dict` made plain.

        Raises:
            KeyError: a kind of node is missing.
            TypeError: something is of the wrong type.
            ValueError: a cost is negative or not finite, or a node costs nothing.
        """
        lines = {
            (name, compute): _line(data["lines"][name][compute]) for name in KINDS for compute in get_args(Compute)
        }
        return cls(str(data["machine"]), str(data["unit"]), lines, _line(data["conversion"]))


def kind(graph: Graph, node: Node) -> str:
    """Which line a node belongs to."""
    if node_macs(graph, node):
        return "Depthwise" if node.op == "Conv" and node.int("group", 1) > 1 else "Dense"
    return node.op if node.op in KINDS else "Elementwise"


def elements(graph: Graph, node: Node) -> int:
    """Elements that a node makes; pooling is counted by those that it reads."""
    values = node.inputs[:1] if node.op == "GlobalAveragePool" else node.outputs
    return sum(prod(graph.shape(value)) for value in values)


def _line(data: Mapping[str, Any]) -> Line:
    line = Line(*(float(data[field]) for field in Line._fields))
    if not (all(isfinite(cost) and cost >= 0 for cost in line) and any(line)):
        raise ValueError(f"{line} is not what an operator costs")
    return line


LITERT_X86 = CostModel(
    "an x86 server with AVX-512 VNNI",
    "ns",
    {
        ("Dense", "float"): Line(1530, 0, 0.0226),
        ("Dense", "int8"): Line(287, 0.118, 0.0068),
        ("Depthwise", "float"): Line(877, 0.00671, 0.0562),
        ("Depthwise", "int8"): Line(957, 0.0849, 0.0487),
        ("Elementwise", "float"): Line(0, 0.0766, 0),
        ("Elementwise", "int8"): Line(16.9, 0.11, 0),
        ("GlobalAveragePool", "float"): Line(991, 0.0117, 0),
        ("GlobalAveragePool", "int8"): Line(583, 0.00137, 0),
        ("Sigmoid", "float"): Line(100, 0.185, 0),
        ("Sigmoid", "int8"): Line(24.5, 0.0958, 0),
    },
    conversion=Line(38, 0.0468, 0),
    overstates=1.16,
)
"""LiteRT 2.3 in one thread, by `benchmarks/operator_costs.py`; mixed networks of which it says 1.29 take 1.25."""
