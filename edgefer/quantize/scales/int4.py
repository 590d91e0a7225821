"""Weights in four bits, for the layers whose kernels read them as fast as int8."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.patterns import is_plain_gemm, is_pointwise
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import bias_params, smallest_scales, weight_axis
from edgefer.quantize.scales.ranges import Values

_LARGEST = 7
_AT_ONCE = 1 << 16  # weights that are tried in float64 together, with all scales
_SHARES = np.arange(1.0, 0.49, -0.05)  # of the largest weight, beyond which others saturate


def can_be_int4(graph: Graph, plan: Plan, node: Node) -> bool:
    """Whether a node computes in int8 with int8 weights that could be int4: a product, with weights of its own."""
    is_product = is_pointwise(graph, node) or (node.op == "Gemm" and is_plain_gemm(graph, node))
    if not (is_product and plan.is_int8(node.name) and plan.tensors[node.inputs[1]].dtype == "int8"):
        return False
    shared = any(len(graph.consumers[value]) > 1 for value in node.inputs[1:])
    return not shared and graph.constants[node.inputs[1]].size % 2 == 0


def with_int4(graph: Graph, plan: Plan, nodes: Iterable[Node]) -> Plan:
    """The Plan with the weights of `nodes`, which can be int4, stored so; their biases follow."""
    tensors = dict(plan.tensors)
    for node in nodes:
        axis = weight_axis(graph, node) or 0
        floor = smallest_scales(graph, node, tensors[node.inputs[0]])
        weights = tensors[node.inputs[1]] = int4_params(graph.constants[node.inputs[1]], axis, floor)
        if node.input(2):
            axis = graph.constants[node.inputs[2]].ndim - 1
            tensors[node.inputs[2]] = bias_params(tensors[node.inputs[0]], weights, axis)
    return Plan(tensors, plan.nodes)


def int4_params(weights: Array, axis: int, floor: Values) -> QuantParams:
    """Symmetric parameters in [-7, 7], with a scale for each index along `axis`.

    It is the one of the least squared error, or the `floor` where that is larger.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    magnitudes = np.abs(rows).max(axis=1, keepdims=True).astype(np.float64)
    largest = np.maximum(magnitudes, 1e-6 * max(float(magnitudes.max()), 1e-6))
    at_once = max(_AT_ONCE // rows.shape[1], 1)
    some = [slice(start, start + at_once) for start in range(0, len(rows), at_once)]
    best = np.concatenate([_least_noisy(rows[few], largest[few]) for few in some])
    chosen = np.maximum(best, floor.astype(np.float32))
    scale = tuple(map(float, chosen))
    return QuantParams("int4", scale, (0,) * len(scale), axis, narrow=True)


def _least_noisy(rows: Array, largest: Values) -> Values:
    """Of the scales that store `rows` of weights with some shares of their `largest`, each row's best."""
    exact = rows.astype(np.float64)
    scales = np.stack([(largest * share / _LARGEST).astype(np.float32) for share in _SHARES]).astype(np.float64)
    stored = np.clip(np.rint(exact / scales), -_LARGEST, _LARGEST) * scales
    best = np.square(stored - exact).sum(axis=2).argmin(axis=0)
    found: Values = scales[best, np.arange(len(rows)), 0]
    return found
