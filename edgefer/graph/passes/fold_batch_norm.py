"""Merge batch norms into the linear operators before them; of maps, what cannot be merged becomes a convolution.

It is depthwise, of one tap: its scales in int8 are of each channel, and runtimes round it alike, which they do not a
product and a sum.  Weights that several layers read are stored once: norms that would make different weights of them
are left behind their layers so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Attribute, Graph, Node, TensorInfo, fresh_name, fresh_node_name
from edgefer.graph.passes.rewrite import bypass, each_node, substitute
from edgefer.graph.passes.tie_weights import WORTH_TYING
from edgefer.graph.patterns import has_constant_weights, output_axis

_EPSILON = 1e-5  # ONNX's default

Vector = npt.NDArray[np.float32]


def fold_batch_norm(graph: Graph) -> Graph:
    """A graph without BatchNormalization by stored statistics."""
    return each_node(graph, _fold)


def _fold(graph: Graph, norm: Node) -> Graph:
    if (
        norm.op != "BatchNormalization"
        or norm.int("training_mode")
        or not all(graph.is_constant(value) for value in norm.inputs[1:])
    ):
        return graph
    scale, mean, beta = _affine(graph, norm)
    linear = graph.producers.get(norm.inputs[0])
    is_map = len(graph.shape(norm.output)) == 4
    if (
        linear is None
        or graph.sole_consumer(linear.output) is None
        or linear.activation
        or not has_constant_weights(graph, linear)
        or (is_map and not _scales_all_readers(graph, linear, scale))
    ):
        return (_depthwise if is_map else _decompose)(graph, norm, scale, beta - mean * scale)
    axis = output_axis(linear)
    weights = graph.constants[linear.inputs[1]]
    bias = graph.constants[linear.inputs[2]].reshape(-1) if linear.input(2) else np.zeros(1, np.float32)
    folded: dict[str, Array] = {
        fresh_name(graph, f"{linear.inputs[1]}/folded"): weights * _along(scale, axis, weights.ndim),
        fresh_name(graph, f"{linear.output}/bias"): (bias - mean) * scale + beta,
    }
    graph = graph.with_constants(folded)
    nodes = [
        replace(node, inputs=(node.inputs[0], *folded)) if node.name == linear.name else node for node in graph.nodes
    ]
    return bypass(graph.with_nodes(nodes), norm, linear.output)


def _affine(graph: Graph, norm: Node) -> tuple[Vector, Vector, Vector]:
    """Scale, mean and beta of the norm, (x - mean) * scale + beta.

    In float32 and in the order of PyTorch's exporters, so that checkpoints and exports fold to the same bits wherever
    the exporter's square root is rounded correctly: the default exporter's is, the older one's with MKL is not always.
    """
    gamma, beta, mean, variance = (graph.constants[value].astype(np.float32) for value in norm.inputs[1:5])
    return gamma / np.sqrt(variance + np.float32(norm.float("epsilon", _EPSILON))), mean, beta


def _scales_all_readers(graph: Graph, linear: Node, scale: Vector) -> bool:
    """Whether norms scale all layers that read these weights by as much, or the weights are few."""
    if graph.constants[linear.inputs[1]].size < WORTH_TYING:
        return True
    readers = (graph.sole_consumer(node.output) for node in graph.consumers[linear.inputs[1]])
    return all(
        reader is not None
        and reader.op == "BatchNormalization"
        and all(graph.is_constant(value) for value in reader.inputs[1:])
        and np.array_equal(_affine(graph, reader)[0], scale)
        for reader in readers
    )


def _decompose(graph: Graph, norm: Node, scale: Vector, shift: Vector) -> Graph:
    rank = len(graph.shape(norm.inputs[0]))
    product = fresh_name(graph, f"{norm.output}/scaled")
    constants = {
        fresh_name(graph, f"{norm.name}/scale"): _along(scale, 1, rank),
        fresh_name(graph, f"{norm.name}/shift"): _along(shift, 1, rank),
    }
    scale_name, shift_name = constants
    nodes: Sequence[Node] = (
        Node(fresh_node_name(graph, f"{norm.name}/Mul"), "Mul", (norm.inputs[0], scale_name), (product,)),
        Node(fresh_node_name(graph, f"{norm.name}/Add"), "Add", (product, shift_name), (norm.output,)),
    )
    return substitute(
        graph,
        {norm.name: nodes},
        constants,
        {product: TensorInfo(graph.shape(norm.output), graph.info[norm.output].dtype)},
    )


def _depthwise(graph: Graph, norm: Node, scale: Vector, shift: Vector) -> Graph:
    constants = {
        fresh_name(graph, f"{norm.name}/scale"): scale.reshape(-1, 1, 1, 1),
        fresh_name(graph, f"{norm.name}/shift"): shift,
    }
    attributes: dict[str, Attribute] = {"kernel_shape": (1, 1), "group": len(scale)}
    node = Node(norm.name, "Conv", (norm.inputs[0], *constants), (norm.output,), attributes)
    return substitute(graph, {norm.name: [node]}, constants)


def _along(vector: Vector, axis: int, rank: int) -> Vector:
    return vector.reshape([-1 if index == axis else 1 for index in range(rank)])
