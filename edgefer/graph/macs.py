"""What a graph costs to run, counted from its shapes."""

from __future__ import annotations

from math import prod

from edgefer.graph.ir import Graph, Node


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference, in convolutions and matrix products."""
    return sum(node_macs(graph, node) for node in graph.nodes)


def parameters(graph: Graph) -> int:
    """Numbers that the graph's constants hold, float ones only."""
    return sum(array.size for array in graph.constants.values() if array.dtype.kind == "f")


def node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one node; 0 where it is no convolution or matrix product."""
    if node.op == "Conv":
        return prod(graph.shape(node.output)) * prod(graph.shape(node.inputs[1])[1:])
    if node.op == "ConvTranspose":
        return prod(graph.shape(node.inputs[0])) * prod(graph.shape(node.inputs[1])[1:])
    if node.op in ("Gemm", "MatMul"):
        depth = graph.shape(node.inputs[0])[-2 if node.int("transA") else -1]
        return prod(graph.shape(node.output)) * depth
    return 0
