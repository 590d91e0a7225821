"""Give each linear layer a bias of its own."""

from __future__ import annotations

from dataclasses import replace

from edgefer.graph.ir import Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute


def separate_biases(graph: Graph) -> Graph:
    """Copy a bias that others read too: as an integer it belongs to one layer's scales, and is corrected for one."""
    return each_node(graph, _separate)


def _separate(graph: Graph, node: Node) -> Graph:
    bias = node.input(2)
    if node.op not in ("Conv", "ConvTranspose", "Gemm") or not graph.is_constant(bias):
        return graph
    if len(graph.consumers[bias]) == 1 and bias not in graph.outputs:
        return graph
    own = fresh_name(graph, f"{node.name}/bias")
    return substitute(graph, {node.name: [replace(node, inputs=(*node.inputs[:2], own))]}, {own: graph.constants[bias]})
