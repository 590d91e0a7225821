"""Linear layers that follow each other become one, where storing what lies between them loses more than that costs.

    conv(32 -> 16), conv 1x1(16 -> 96)    becomes    conv(32 -> 96)

The bottleneck between two inverted residual blocks is linear; where no shortcut begins there, it is but a product of
matrices in two steps.  Those of first blocks are narrow, on large maps, and every value in them counts: of a
MobileNetV2, briefly trained, one held a third of the noise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute
from edgefer.graph.patterns import has_constant_weights, is_pointwise
from edgefer.quantize.costs.prices import Prices, node_works
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.ranges import identity


def join_layers(graph: Graph, sensitivity: Sensitivity, prices: Prices) -> Graph:
    """The graph with convolutions joined where that pays; its outputs stay what they were.

    Args:
        graph: the float network.
        sensitivity: measures what storing the value between two loses.
        prices: what joining two must take away.
    """

    def joined(graph: Graph, first: Node) -> Graph:
        second = graph.sole_consumer(first.output)
        if second is None or not _can_be_joined(graph, first, second):
            return graph
        weights, bias = _product(graph, first, second)
        names = fresh_name(graph, f"{second.name}/weights"), fresh_name(graph, f"{second.name}/bias")
        both = replace(
            first,
            name=second.name,
            inputs=(first.inputs[0], *names),
            outputs=second.outputs,
            activation=second.activation,
        )
        candidate = substitute(
            graph, {first.name: [], second.name: [both]}, dict(zip(names, (weights, bias), strict=True))
        )
        price = prices.of(node_works(graph, [first, second]), node_works(candidate, [both]))
        if price < 0:
            return candidate
        stored = sensitivity.stored_alone(graph, {first.output: identity})
        return candidate if price < sensitivity.noise_of(graph, stored, price) else graph

    return each_node(graph, joined)


def _can_be_joined(graph: Graph, first: Node, second: Node) -> bool:
    """Whether both are convolutions of all channels by weights of their own, the second of one tap."""
    are_layers = all(node.op == "Conv" and has_constant_weights(graph, node) for node in (first, second))
    return (
        are_layers
        and all(len(graph.consumers[name]) == 1 for node in (first, second) for name in node.inputs[1:2])
        and first.int("group", 1) == 1
        and not first.activation
        and is_pointwise(graph, second)
        and second.inputs[0] == first.output
    )


def _product(graph: Graph, first: Node, second: Node) -> tuple[Array, Array]:
    """Weights and bias of both as one."""
    before, after = (graph.constants[node.inputs[1]].astype(np.float64) for node in (first, second))
    outer = after.reshape(after.shape[:2])
    shift = graph.constants[first.inputs[2]] if first.input(2) else np.zeros(len(before))
    bias = graph.constants[second.inputs[2]] if second.input(2) else np.zeros(len(after))
    weights = np.tensordot(outer, before, 1)
    return weights.astype(np.float32), (outer @ shift.reshape(-1) + bias.reshape(-1)).astype(np.float32)
