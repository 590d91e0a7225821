"""Give each linear layer a bias of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute
from edgefer.graph.patterns import is_plain_gemm


def separate_biases(graph: Graph) -> Graph:
    """Copy a bias that others read too: as an integer it belongs to one layer's scales, and is corrected for one.

    A convolution, or plain product with constant weights, that has none gets zeros, to be corrected.
    """
    return each_node(graph, _separate)


def _separate(graph: Graph, node: Node) -> Graph:
    bias = node.input(2)
    if node.op not in ("Conv", "ConvTranspose", "Gemm") or (bias and not graph.is_constant(bias)):
        return graph
    if not bias and not _can_be_corrected(graph, node):
        return graph
    if bias and len(graph.consumers[bias]) == 1 and bias not in graph.outputs:
        return graph
    values = graph.constants[bias] if bias else np.zeros(graph.shape(node.output)[1], graph.info[node.output].dtype)
    own = fresh_name(graph, f"{node.name}/bias")
    return substitute(graph, {node.name: [replace(node, inputs=(*node.inputs[:2], own))]}, {own: values})


def _can_be_corrected(graph: Graph, node: Node) -> bool:
    is_layer = node.op == "Conv" or (node.op == "Gemm" and is_plain_gemm(graph, node))
    return is_layer and graph.is_constant(node.inputs[1])
