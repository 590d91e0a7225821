"""What nodes cost in int8 and in float: straight lines through measured times, so that equal graphs cost the same.

A line has three coefficients: nanoseconds for a node, for each element, and for each multiply-accumulate.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TypeAlias

from edgefer.graph.cost import node_macs
from edgefer.graph.ir import Graph, Node
from edgefer.plan import Compute

Line: TypeAlias = tuple[float, float, float]
Costs: TypeAlias = Mapping[tuple[str, Compute], Line]
"""By kind of node and what it computes in."""

CONVERSION = "Conversion"
"""Kind of what stands between int8 and float, once for each value that meets both."""

LITERT_X86: Costs = {
    (CONVERSION, "float"): (38, 0.0468, 0),
    ("Dense", "float"): (1530, 0, 0.0226),
    ("Dense", "int8"): (287, 0.118, 0.0068),
    ("Depthwise", "float"): (877, 0.00671, 0.0562),
    ("Depthwise", "int8"): (957, 0.0849, 0.0487),
    ("Elementwise", "float"): (0, 0.0766, 0),
    ("Elementwise", "int8"): (16.9, 0.11, 0),
    ("GlobalAveragePool", "float"): (991, 0.0117, 0),
    ("GlobalAveragePool", "int8"): (583, 0.00137, 0),
    ("Sigmoid", "float"): (100, 0.185, 0),
    ("Sigmoid", "int8"): (24.5, 0.0958, 0),
}
"""LiteRT 2.3 in one thread of an x86 server with AVX-512 VNNI, by `benchmarks/operator_costs.py`."""


def kind(graph: Graph, node: Node) -> str:
    """Which line a node belongs to: nodes with weights by their kernels, others by their operator."""
    if node_macs(graph, node):
        return "Depthwise" if node.op == "Conv" and node.int("group", 1) > 1 else "Dense"
    return node.op if node.op in ("Sigmoid", "GlobalAveragePool") else "Elementwise"


def node_cost(graph: Graph, node: Node, compute: Compute, costs: Costs) -> float:
    """Nanoseconds of one run of `node`."""
    fixed, per_element, per_mac = costs[kind(graph, node), compute]
    return fixed + per_element * elements(graph, node) + per_mac * node_macs(graph, node)


def conversion_cost(graph: Graph, value: str, costs: Costs) -> float:
    """Nanoseconds of converting `value` between int8 and float."""
    fixed, per_element, _ = costs[CONVERSION, "float"]
    return fixed + per_element * prod(graph.shape(value))


def elements(graph: Graph, node: Node) -> int:
    """Elements that a node makes; pooling is counted by those that it reads."""
    values = node.inputs[:1] if node.op == "GlobalAveragePool" else node.outputs
    return sum(prod(graph.shape(value)) for value in values)
