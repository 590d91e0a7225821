"""Write each computation in the one way that patterns, planner and emitters look for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name, fresh_node_name
from edgefer.graph.passes.rewrite import bypass, each_node, scalar_constant, substitute
from edgefer.graph.patterns import is_plain_gemm


def pool_globally(graph: Graph) -> Graph:
    """ReduceMean over all spatial axes becomes GlobalAveragePool, which has integer kernels everywhere."""
    return each_node(graph, _pool_globally)


def _pool_globally(graph: Graph, node: Node) -> Graph:
    if node.op != "ReduceMean" or len(graph.shape(node.inputs[0])) != 4:
        return graph
    axes = graph.constants.get(node.input(1))
    if axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        return graph
    pooled = replace(node, op="GlobalAveragePool", inputs=node.inputs[:1], attributes={})
    if node.int("keepdims", 1):
        return substitute(graph, {node.name: [pooled]})
    kept = fresh_name(graph, f"{node.output}/pooled")
    shape = graph.shape(node.inputs[0])
    flatten = Node(fresh_node_name(graph, f"{node.name}/Flatten"), "Flatten", (kept,), node.outputs, {"axis": 1})
    info = {kept: TensorInfo((*shape[:2], 1, 1), graph.info[node.output].dtype)}
    return substitute(graph, {node.name: [replace(pooled, outputs=(kept,)), flatten]}, info=info)


_RESHAPING = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def merge_reshapes(graph: Graph) -> Graph:
    """A Reshape and what reshapes before or behind it are one Reshape."""
    return each_node(graph, _merge_reshapes)


def _merge_reshapes(graph: Graph, node: Node) -> Graph:
    first = graph.producers.get(node.inputs[0]) if node.op in _RESHAPING else None
    if first is None or first.op not in _RESHAPING or "Reshape" not in (node.op, first.op):
        return graph
    shape = fresh_name(graph, f"{node.output}/shape")
    merged = Node(node.name, "Reshape", (first.inputs[0], shape), node.outputs)
    return substitute(graph, {node.name: [merged]}, {shape: np.asarray(graph.shape(node.output), np.int64)})


def merge_matmul_bias(graph: Graph) -> Graph:
    """MatMul of rows, or of sets of rows, by a constant matrix, and the bias added to it, become Gemm."""
    return each_node(graph, _merge_matmul_bias)


def _merge_matmul_bias(graph: Graph, node: Node) -> Graph:
    if (
        node.op != "MatMul"
        or len(graph.shape(node.inputs[0])) < 2
        or not graph.is_constant(node.inputs[1])
        or len(graph.shape(node.inputs[1])) != 2
    ):
        return graph
    columns = graph.shape(node.output)[-1]
    add = graph.sole_consumer(node.output)
    summand = next((v for v in add.inputs if v != node.output), "") if add is not None and add.op == "Add" else ""
    if add is None or not graph.is_constant(summand) or graph.shape(summand) not in ((columns,), (1, columns)):
        return _with_rows(graph, Node(node.name, "Gemm", node.inputs, node.outputs))
    bias = fresh_name(graph, f"{summand}/flat")
    gemm = Node(node.name, "Gemm", (*node.inputs, bias), node.outputs, activation=add.activation)
    with_bias = graph.with_constants({bias: graph.constants[summand].reshape(-1)})
    return bypass(_with_rows(with_bias, gemm), add, node.output)


def _with_rows(graph: Graph, gemm: Node) -> Graph:
    """The graph with a Gemm in the place of its MatMul, of all rows at once."""
    read, made = gemm.inputs[0], gemm.output
    if len(graph.shape(read)) == 2:
        return substitute(graph, {gemm.name: [gemm]})
    names = {value: fresh_name(graph, f"{value}/rows") for value in (read, made)}
    shapes = {value: (prod(graph.shape(value)[:-1]), graph.shape(value)[-1]) for value in names}
    first, last = (fresh_name(graph, f"{name}/shape") for name in (names[read], made))
    nodes = [
        Node(fresh_node_name(graph, f"{gemm.name}/Rows"), "Reshape", (read, first), (names[read],)),
        replace(gemm, inputs=(names[read], *gemm.inputs[1:]), outputs=(names[made],)),
        Node(fresh_node_name(graph, f"{gemm.name}/Sets"), "Reshape", (names[made], last), (made,)),
    ]
    constants = {first: np.asarray(shapes[read], np.int64), last: np.asarray(graph.shape(made), np.int64)}
    info = {names[value]: TensorInfo(shape, graph.info[value].dtype) for value, shape in shapes.items()}
    return substitute(graph, {gemm.name: nodes}, constants, info)


def plain_gemms(graph: Graph) -> Graph:
    """A Gemm by constants reads rows, its factors join them, and its summand has a number for each column."""
    return each_node(graph, _plain_gemm)


def _plain_gemm(graph: Graph, node: Node) -> Graph:
    if node.op != "Gemm" or is_plain_gemm(graph, node) or not all(map(graph.is_constant, node.inputs[1:])):
        return graph
    columns = graph.shape(node.output)[1]
    summand = graph.constants[node.inputs[2]] if node.input(2) else np.zeros(1, np.float32)
    if summand.size not in (1, *summand.shape[-1:]):
        return graph
    alpha, beta = (np.float32(node.float(key, 1.0)) for key in ("alpha", "beta"))
    weights, bias = (fresh_name(graph, f"{node.name}/{part}") for part in ("weights", "bias"))
    constants: dict[str, Array] = {
        weights: graph.constants[node.inputs[1]] * alpha,
        bias: np.broadcast_to(summand.reshape(-1) * beta, (columns,)),
    }
    plain = replace(node, inputs=(node.inputs[0], weights, bias), attributes={"transB": node.int("transB")})
    if not node.int("transA"):
        return substitute(graph, {node.name: [plain]}, constants)
    rows = fresh_name(graph, f"{node.output}/rows")
    source = graph.info[node.inputs[0]]
    turn = Node(
        fresh_node_name(graph, f"{node.name}/Transpose"), "Transpose", node.inputs[:1], (rows,), {"perm": (1, 0)}
    )
    nodes = [turn, replace(plain, inputs=(rows, weights, bias))]
    return substitute(graph, {node.name: nodes}, constants, {rows: replace(source, shape=source.shape[::-1])})


FUSING = frozenset({"Conv", "Gemm", "Add"})


def fuse_activations(graph: Graph, fusing: frozenset[str] = FUSING) -> Graph:
    """Relu and Clip(0, 6) join the linear operator before them, as they do inside both runtimes."""
    return each_node(graph, partial(_fuse_activation, fusing=fusing))


def _fuse_activation(graph: Graph, node: Node, fusing: frozenset[str]) -> Graph:
    is_relu6 = (
        node.op == "Clip"
        and scalar_constant(graph, node.input(1)) == 0.0
        and scalar_constant(graph, node.input(2)) == 6.0
    )
    if node.op != "Relu" and not is_relu6:
        return graph
    linear = graph.producers.get(node.inputs[0])
    if linear is None or linear.op not in fusing or linear.activation or graph.sole_consumer(linear.output) is None:
        return graph
    fused = replace(linear, activation="Relu6" if is_relu6 else "Relu")
    return bypass(substitute(graph, {linear.name: [fused]}), node, linear.output)


def flatten_pixels(graph: Graph) -> Graph:
    """Reshape or Squeeze of a map of one pixel into a row becomes Flatten, which patterns follow channels through."""
    return each_node(graph, _flatten_pixel)


def _flatten_pixel(graph: Graph, node: Node) -> Graph:
    if node.op not in ("Reshape", "Squeeze"):
        return graph
    before, after = (graph.shape(value) for value in (node.inputs[0], node.output))
    if before != (*after, 1, 1) or len(after) != 2:
        return graph
    return substitute(graph, {node.name: [Node(node.name, "Flatten", node.inputs[:1], node.outputs, {"axis": 1})]})
