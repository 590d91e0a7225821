"""What nodes cost in int8 and in float: lines through what was measured, so that equal graphs cost the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, NamedTuple, get_args

from edgefer.graph.ir import Graph, Node
from edgefer.graph.macs import node_macs
from edgefer.plan import Compute

KINDS = ("Concat", "Dense", "Depthwise", "Elementwise", "GlobalAveragePool", "Sigmoid")
"""Nodes with weights by their kernels, others by their operator, with one name for all that is left."""

TILE = 16
"""Channels that kernels with weights compute at once: a layer that makes no multiple takes as long as the next one."""


class Line(NamedTuple):
    """What a kind of node costs."""

    per_node: float
    per_element: float
    per_mac: float

    def at(self, elements: int, macs: int) -> float:
        """Cost of a node that makes so many elements with so many multiply-accumulates."""
        return self.per_node + self.per_element * elements + self.per_mac * macs


class Work(NamedTuple):
    """What a node does, channel by channel.

    Attributes:
        kind: one of `KINDS`.
        channels: that it makes.
        elements: that each of them has; pooling is counted by those that it reads.
        macs: multiply-accumulates for each of them.
    """

    kind: str
    channels: int
    elements: float
    macs: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Elements and multiply-accumulates, those that kernels do for nothing included."""
        padded = self.kind in ("Dense", "Depthwise")
        channels = -(-self.channels // TILE) * TILE if padded else self.channels
        return round(channels * self.elements), round(channels * self.macs)


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
        return self.of_work(work(graph, node), compute)

    def of_work(self, work: Work, compute: Compute) -> float:
        """Cost of doing it once."""
        return self.lines[work.kind, compute].at(*work.size)

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


def work(graph: Graph, node: Node) -> Work:
    """What `node` does."""
    shape = graph.shape(node.output)
    channels = max(shape[1] if len(shape) == 4 else shape[-1] if shape else 1, 1)
    read_or_made = node.inputs[:1] if node.op == "GlobalAveragePool" else node.outputs
    elements = sum(prod(graph.shape(value)) for value in read_or_made)
    macs = node_macs(graph, node)
    return Work(_kind(node, macs), channels, elements / channels, macs / channels)


def _kind(node: Node, macs: int) -> str:
    if macs:
        return "Depthwise" if node.op == "Conv" and node.int("group", 1) > 1 else "Dense"
    return node.op if node.op in KINDS else "Elementwise"


def _line(data: Mapping[str, Any]) -> Line:
    line = Line(*(float(data[field]) for field in Line._fields))
    if not (all(isfinite(cost) and cost >= 0 for cost in line) and any(line)):
        raise ValueError(f"{line} is not what an operator costs")
    return line
