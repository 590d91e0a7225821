"""Drop nodes that hand on their input unchanged."""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.rewrite import bypass, each_node, scalar_constant

_SAME_IF_SHAPE_KEPT = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice"}
_BROADCASTING = {"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Where"}


def remove_identities(graph: Graph) -> Graph:
    """A graph without Identity, Dropout, no-op casts, reshapes, pads, and arithmetic with neutral constants.

    What is expanded only for readers that would do so themselves is not.
    """
    return each_node(graph, _remove)


def _remove(graph: Graph, node: Node) -> Graph:
    source = None if node.activation else _equal_input(graph, node)
    return graph if source is None else bypass(graph, node, source)


def _equal_input(graph: Graph, node: Node) -> str | None:
    """The input that the node's only used output equals, None when there is none."""
    if any(value in graph.consumers or value in graph.outputs for value in node.outputs[1:]):
        return None
    first = node.input(0)
    if node.op == "Expand" and _readers_broadcast(graph, node):
        return first
    if not first or graph.info[first] != graph.info[node.output]:
        return _other_operand(graph, node)
    if node.op in ("Identity", "Dropout", "Cast") or (node.op == "Concat" and len(node.inputs) == 1):
        return first
    if node.op in _SAME_IF_SHAPE_KEPT and not _reorders(graph, node):
        return first
    if node.op == "Transpose" and node.ints("perm") == tuple(range(len(graph.shape(first)))):
        return first
    if node.op == "Pad" and not np.any(graph.constants.get(node.input(1), 1)):
        return first
    if node.op in ("Mul", "Div") and scalar_constant(graph, node.input(1)) == 1.0:
        return first
    if node.op in ("Add", "Sub") and scalar_constant(graph, node.input(1)) == 0.0:
        return first
    return _other_operand(graph, node)


def _other_operand(graph: Graph, node: Node) -> str | None:
    neutral = {"Mul": 1.0, "Add": 0.0}.get(node.op)
    if neutral is None or scalar_constant(graph, node.input(0)) != neutral:
        return None
    return node.input(1) if graph.info[node.input(1)] == graph.info[node.output] else None


def _readers_broadcast(graph: Graph, node: Node) -> bool:
    """Whether whoever reads what is expanded would expand it as well."""

    def broadcasts(reader: Node) -> bool:
        shapes = [graph.shape(node.inputs[0] if value == node.output else value) for value in reader.inputs]
        return reader.op in _BROADCASTING and np.broadcast_shapes(*shapes) == graph.shape(reader.output)

    return node.output not in graph.outputs and all(map(broadcasts, graph.consumers.get(node.output, ())))


def _reorders(graph: Graph, node: Node) -> bool:
    """A Slice that keeps the shape may still walk backwards."""
    return node.op == "Slice" and bool(np.any(graph.constants.get(node.input(4), np.ones(1)) < 0))
