"""Merge batch norms into the linear operators before them; what cannot be merged becomes Mul and Add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name
from edgefer.graph.passes.rewrite import bypass, substitute

_EPSILON = 1e-5  # ONNX's default

Vector = npt.NDArray[np.float32]


def fold_batch_norm(graph: Graph) -> Graph:
    """A graph without BatchNormalization."""
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            graph = _fold(graph, node)
    return graph


def _fold(graph: Graph, norm: Node) -> Graph:
    scale, shift = _affine(graph, norm)
    linear = graph.producers.get(norm.inputs[0])
    if (
        linear is None
        or graph.sole_consumer(linear.output) is None
        or linear.activation
        or not _has_constant_weights(graph, linear)
    ):
        return _decompose(graph, norm, scale, shift)
    axis = _output_axis(linear)
    weights = graph.constants[linear.inputs[1]]
    if linear.op == "ConvTranspose" and linear.int("group", 1) != 1:
        return _decompose(graph, norm, scale, shift)
    bias = graph.constants[linear.inputs[2]] if linear.input(2) else np.zeros(len(scale), np.float32)
    folded: dict[str, Array] = {
        fresh_name(graph, f"{linear.inputs[1]}/folded"): weights * _along(scale, axis, weights.ndim),
        fresh_name(graph, f"{linear.output}/bias"): (np.broadcast_to(bias, scale.shape) * scale + shift).astype(
            np.float32
        ),
    }
    graph = graph.with_constants(folded)
    nodes = [
        replace(node, inputs=(node.inputs[0], *folded)) if node.name == linear.name else node for node in graph.nodes
    ]
    return bypass(graph.with_nodes(nodes), norm, linear.output)


def _affine(graph: Graph, norm: Node) -> tuple[Vector, Vector]:
    """Scale and shift of the norm, in float32 and in the order of PyTorch's own exporter, so that both fold alike."""
    gamma, beta, mean, variance = (graph.constants[value].astype(np.float32) for value in norm.inputs[1:5])
    scale = gamma / np.sqrt(variance + np.float32(norm.float("epsilon", _EPSILON)))
    return scale, beta - mean * scale


def _has_constant_weights(graph: Graph, node: Node) -> bool:
    if node.op == "Gemm" and (node.int("transA") or node.float("alpha", 1.0) != 1.0 or node.float("beta", 1.0) != 1.0):
        return False
    return node.op in ("Conv", "ConvTranspose", "Gemm") and all(graph.is_constant(value) for value in node.inputs[1:])


def _output_axis(node: Node) -> int:
    if node.op == "Gemm":
        return 0 if node.int("transB") else 1
    return 1 if node.op == "ConvTranspose" else 0


def _decompose(graph: Graph, norm: Node, scale: Vector, shift: Vector) -> Graph:
    rank = len(graph.shape(norm.inputs[0]))
    product = fresh_name(graph, f"{norm.output}/scaled")
    constants = {
        fresh_name(graph, f"{norm.name}/scale"): _along(scale, 1, rank),
        fresh_name(graph, f"{norm.name}/shift"): _along(shift, 1, rank),
    }
    scale_name, shift_name = constants
    nodes: Sequence[Node] = (
        Node(f"{norm.name}/Mul", "Mul", (norm.inputs[0], scale_name), (product,)),
        Node(f"{norm.name}/Add", "Add", (product, shift_name), (norm.output,), activation=norm.activation),
    )
    return substitute(
        graph,
        {norm.name: nodes},
        constants,
        {product: TensorInfo(graph.shape(norm.output), graph.info[norm.output].dtype)},
    )


def _along(vector: Vector, axis: int, rank: int) -> Vector:
    return vector.reshape([-1 if index == axis else 1 for index in range(rank)])
