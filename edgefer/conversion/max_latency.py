"""`--max-latency`: what an inference may take where it is to run, by what operators cost there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefer.device.operator_costs import read_operator_costs
from edgefer.errors import UsageError
from edgefer.graph.ir import Graph
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.machines import TARGETS
from edgefer.quantize.costs.prices import int8_cost

_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}
_REMEDY = (
    "Write it like 20ms@board.json, where `edgefer benchmark --operator-costs --json board.json` wrote the file, or "
    f"like 0.7x@pi5: so many times what the network takes in int8; targets are {', '.join(TARGETS)}."
)


@dataclass(frozen=True)
class MaxLatency:
    """A bound on what an inference takes.

    Attributes:
        text: as it was asked for.
        machine: where it holds; of a target of several, the commonest.
        amount: in nanoseconds, or times what the network takes in int8 as it is.
        is_relative: which of them.
    """

    text: str
    machine: CostModel
    amount: float
    is_relative: bool

    def allowed(self, graph: Graph) -> float:
        """The bound in the machine's unit, for a float graph as it is before anything is done to it."""
        return self.amount * int8_cost(graph, self.machine) if self.is_relative else self.amount

    def to_dict(self, graph: Graph, expected: float) -> dict[str, Any]:
        """For the manifest: plain data, with what is expected of the artifacts of a float graph."""
        return {
            "asked": self.text,
            "costs_of": self.machine.machine,
            "unit": self.machine.unit,
            "whole": int8_cost(graph, self.machine),
            "allowed": self.allowed(graph),
            "expected": expected,
        }


def parse_latency(text: str) -> MaxLatency:
    """A bound such as `20ms@board.json` or `0.7x@pi5`.

    Raises:
        UsageError: it is none, or its costs are not in time.
        InputError: the file cannot be read, or holds no costs.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|x)\s*@\s*(.+?)\s*", text)
    if match is None or not float(match[1]) > 0:
        raise UsageError(f"{text!r} is no bound on latency", remedy=_REMEDY)
    amount, unit, where = float(match[1]), match[2], match[3]
    machine = TARGETS[where][0] if where in TARGETS else read_operator_costs(Path(where))
    if unit != "x" and machine.unit != "ns":
        raise UsageError(
            f"{text!r}: what operators cost on {machine.machine} is known in {machine.unit}, not in time",
            remedy=f"Say it in parts, as 0.7x@{where}, or measure a board: see --costs.",
        )
    return MaxLatency(text, machine, amount if unit == "x" else amount * _NS[unit], unit == "x")
