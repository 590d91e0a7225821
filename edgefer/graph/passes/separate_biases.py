"""Give each linear layer a bias of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute
from edgefer.graph.patterns import is_plain_gemm


def separate_biases(graph: Graph) -> Graph:
    """Copy a bias that others read too: as an integer it belongs to one layer's scales, and is corrected for one.

    A convolution, or plain product with constant weights, that has none gets zeros, to be corrected.
    """
    return each_node(graph, _separate)


def _separate(graph: Graph, node: Node) -> Graph:
    values = _values(graph, node) if node.op in ("Conv", "ConvTranspose", "Gemm") else None
    if values is None:
        return graph
    own = fresh_name(graph, f"{node.name}/bias")
    return substitute(graph, {node.name: [replace(node, inputs=(*node.inputs[:2], own))]}, {own: values})


def _values(graph: Graph, node: Node) -> Array | None:
    """What the bias of its own is that a layer needs; None where it needs none."""
    if bias := node.input(2):
        return graph.constants[bias] if graph.is_constant(bias) and graph.sole_consumer(bias) is None else None
    takes_one = node.op == "Conv" or (node.op == "Gemm" and is_plain_gemm(graph, node))
    if not (takes_one and graph.is_constant(node.inputs[1])):
        return None
    return np.zeros(graph.shape(node.output)[1], graph.info[node.output].dtype)
