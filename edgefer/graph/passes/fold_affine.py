"""Merge products and sums with constants into the linear layers before them, as batch norms are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Activation, Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import by_channel, bypass, each_node, substitute
from edgefer.graph.patterns import has_constant_weights, output_axis


def fold_affine(graph: Graph) -> Graph:
    """A graph in which no layer with constant weights is followed by a Mul or Add of a constant for each channel.

    Factors above 0 go through a Relu, too.
    """
    return each_node(graph, _fold)


def _fold(graph: Graph, node: Node) -> Graph:
    constant = next(filter(graph.is_constant, node.inputs), "") if node.op in ("Add", "Mul") else ""
    layer = next((graph.producers[value] for value in node.inputs if value in graph.producers), None)
    if not constant or layer is None or not _is_alone(graph, layer, node):
        return graph
    channels = by_channel(graph.constants[constant], graph.shape(layer.output), 1)
    if channels is None or not _goes_through(layer.activation, node, channels):
        return graph
    weights, axis = graph.constants[layer.inputs[1]], output_axis(layer)
    bias: Array = graph.constants[layer.inputs[2]].reshape(-1) if layer.input(2) else np.zeros(1, np.float32)
    constants: dict[str, Array] = {}
    if node.op == "Mul":
        along = [-1 if index == axis else 1 for index in range(weights.ndim)]
        constants[fresh_name(graph, f"{layer.inputs[1]}/scaled")] = weights * channels.reshape(along)
        constants[fresh_name(graph, f"{layer.output}/bias")] = bias * channels
        inputs = tuple(constants)
    else:
        constants[fresh_name(graph, f"{layer.output}/bias")] = bias + channels
        inputs = (layer.inputs[1], *constants)
    activation = node.activation or layer.activation
    folded = replace(layer, inputs=(layer.inputs[0], *inputs), activation=activation)
    return bypass(substitute(graph, {layer.name: [folded]}, constants), node, layer.output)


def _is_alone(graph: Graph, layer: Node, node: Node) -> bool:
    """Whether a layer is read by `node` alone, and its weights by nothing else."""
    is_read_once = graph.sole_consumer(layer.output) is node and has_constant_weights(graph, layer)
    return is_read_once and len(graph.consumers[layer.inputs[1]]) == 1


def _goes_through(activation: Activation, node: Node, channels: Array) -> bool:
    """Whether what `node` does can be done before the layer's activation, beside its own."""
    if activation == "Relu":
        return node.op == "Mul" and node.activation != "Relu6" and bool(np.all(channels > 0))
    return not activation
