"""Convolutions of many narrow groups become those of fewer, wider ones, with zeros between.

Kernels compute sixteen channels at once: of four groups of four each makes four and leaves twelve, and one group of
sixteen takes no longer than any of them.  It is the same to the bit, in int8 too, and takes more bytes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute
from edgefer.graph.patterns import has_constant_weights

WIDTH = 16
"""Channels that kernels make at once."""


def widen_groups(graph: Graph) -> Graph:
    """Join as many groups of each convolution as make `WIDTH` channels; depthwise ones have kernels of their own."""
    return each_node(graph, _widened)


def _widened(graph: Graph, node: Node) -> Graph:
    groups = node.int("group", 1)
    if node.op != "Conv" or groups == 1 or not has_constant_weights(graph, node):
        return graph
    if len(graph.consumers[node.inputs[1]]) > 1:
        return graph  # tied weights stay so
    weights = graph.constants[node.inputs[1]]
    outputs, inputs = len(weights) // groups, weights.shape[1]
    together = range(1, max(min(groups, WIDTH // outputs), 1) + 1)
    joined = max(count for count in together if groups % count == 0)
    if inputs == 1 or joined == 1:
        return graph
    wide = np.zeros((len(weights), joined * inputs, *weights.shape[2:]), weights.dtype)
    for index, kernel in enumerate(weights):
        begin = index // outputs % joined * inputs
        wide[index, begin : begin + inputs] = kernel
    name = fresh_name(graph, f"{node.inputs[1]}/wide")
    widened = replace(
        node, inputs=(node.inputs[0], name, *node.inputs[2:]), attributes={**node.attributes, "group": groups // joined}
    )
    return substitute(graph, {node.name: [widened]}, {name: wide})
