"""Leave out the taps of convolutions that only ever meet the border.

On a map of 2 x 2, a kernel of 5 x 5 with two zeros all round reads no more than its inner 3 x 3: the others are
multiplied with zeros wherever it stands.  Small inputs bring that about at the end of a network.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import each_node, substitute


def trim_kernels(graph: Graph) -> Graph:
    """Cut the first and last rows and columns of kernels that meet no pixel, and as much of the border."""
    return each_node(graph, _trimmed)


def _trimmed(graph: Graph, node: Node) -> Graph:
    if node.op != "Conv" or not graph.is_constant(node.inputs[1]) or node.str("auto_pad", "NOTSET") != "NOTSET":
        return graph
    sizes, made, kernel = (graph.shape(value)[2:] for value in (node.inputs[0], node.output, node.inputs[1]))
    rank = len(kernel)
    strides, dilations = (node.ints(name, (1,) * rank) for name in ("strides", "dilations"))
    pads = list(node.ints("pads", (0,) * 2 * rank))
    cuts = []
    for axis in range(rank):
        corners = np.arange(made[axis]) * strides[axis] - pads[axis]
        taps = corners[:, np.newaxis] + np.arange(kernel[axis]) * dilations[axis]
        meets = list(map(bool, np.any((taps >= 0) & (taps < sizes[axis]), axis=0)))
        first, last = (meets.index(True), len(meets) - meets[::-1].index(True)) if any(meets) else (0, len(meets))
        before, after = first * dilations[axis], (kernel[axis] - last) * dilations[axis]
        if pads[axis] < before or pads[axis + rank] < after:
            first, last, before, after = 0, kernel[axis], 0, 0
        pads[axis] -= before
        pads[axis + rank] -= after
        cuts.append(slice(first, last))
    weights = graph.constants[node.inputs[1]][(slice(None), slice(None), *cuts)]
    if weights.shape[2:] == kernel:
        return graph
    name = fresh_name(graph, f"{node.inputs[1]}/trimmed")
    attributes = {**node.attributes, "kernel_shape": weights.shape[2:], "pads": tuple(pads)}
    trimmed = replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]), attributes=attributes)
    return substitute(graph, {node.name: [trimmed]}, {name: np.ascontiguousarray(weights)})
