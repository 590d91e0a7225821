"""Write each computation in the one way that patterns, planner and emitters look for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name
from edgefer.graph.passes.rewrite import bypass, scalar_constant, substitute


def pool_globally(graph: Graph) -> Graph:
    """ReduceMean over all spatial axes becomes GlobalAveragePool, which has integer kernels everywhere."""
    for node in graph.nodes:
        if node.op != "ReduceMean" or len(graph.shape(node.inputs[0])) != 4:
            continue
        axes = graph.constants.get(node.input(1))
        axes_stated = axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]
        if not axes_stated:
            continue
        pooled = replace(node, op="GlobalAveragePool", inputs=node.inputs[:1], attributes={})
        if node.int("keepdims", 1):
            graph = substitute(graph, {node.name: [pooled]})
            continue
        kept = fresh_name(graph, f"{node.output}/pooled")
        shape = graph.shape(node.inputs[0])
        flatten = Node(f"{node.name}/Flatten", "Flatten", (kept,), node.outputs, {"axis": 1})
        info = {kept: TensorInfo((*shape[:2], 1, 1), graph.info[node.output].dtype)}
        graph = substitute(graph, {node.name: [replace(pooled, outputs=(kept,)), flatten]}, info=info)
    return graph


def name_hard_swish(graph: Graph) -> Graph:
    """HardSwish gets its name where it is spelled out as x * HardSigmoid(x)."""
    for node in graph.nodes:
        if node.op != "Mul" or node.activation:
            continue
        for x, gate in (node.inputs, node.inputs[::-1]):
            source = graph.producers.get(gate)
            if (
                source is not None
                and source.op == "HardSigmoid"
                and source.inputs[0] == x
                and np.isclose(source.float("alpha", 0.2), 1 / 6)
                and source.float("beta", 0.5) == 0.5
            ):
                graph = substitute(graph, {node.name: [Node(node.name, "HardSwish", (x,), node.outputs)]})
    return graph


def decompose_hard_sigmoid(graph: Graph) -> Graph:
    """HardSigmoid becomes Mul, Add and Clip: no runtime has an integer kernel for it."""
    for node in graph.nodes:
        if node.op != "HardSigmoid":
            continue
        info = graph.info[node.output]
        scaled, shifted = (fresh_name(graph, f"{node.output}/{part}") for part in ("scaled", "shifted"))
        constants: dict[str, Array] = {
            fresh_name(graph, f"{node.name}/{key}"): np.asarray(value, np.float32)
            for key, value in (
                ("alpha", node.float("alpha", 0.2)),
                ("beta", node.float("beta", 0.5)),
                ("low", 0.0),
                ("high", 1.0),
            )
        }
        alpha, beta, low, high = constants
        nodes = [
            Node(f"{node.name}/Mul", "Mul", (node.inputs[0], alpha), (scaled,)),
            Node(f"{node.name}/Add", "Add", (scaled, beta), (shifted,)),
            Node(f"{node.name}/Clip", "Clip", (shifted, low, high), node.outputs),
        ]
        graph = substitute(graph, {node.name: nodes}, constants, {scaled: info, shifted: info})
    return graph


def merge_matmul_bias(graph: Graph) -> Graph:
    """MatMul by a constant matrix, and the bias added to it, become Gemm."""
    for node in graph.nodes:
        if (
            node.op != "MatMul"
            or len(graph.shape(node.inputs[0])) != 2
            or not graph.is_constant(node.inputs[1])
            or len(graph.shape(node.inputs[1])) != 2
        ):
            continue
        gemm = Node(node.name, "Gemm", node.inputs, node.outputs)
        add = graph.sole_consumer(node.output)
        bias = next((v for v in add.inputs if v != node.output), "") if add is not None and add.op == "Add" else ""
        if (
            add is not None
            and graph.is_constant(bias)
            and graph.constants[bias].size == graph.shape(node.output)[1]
            and graph.constants[bias].shape[-1:] == graph.shape(node.output)[1:]
        ):
            flat = fresh_name(graph, f"{bias}/flat")
            gemm = replace(gemm, inputs=(*node.inputs, flat))
            graph = bypass(
                substitute(graph, {node.name: [gemm]}, {flat: graph.constants[bias].reshape(-1)}), add, node.output
            )
        else:
            graph = substitute(graph, {node.name: [gemm]})
    return graph


_FUSING = {"Conv", "Gemm", "Add"}


def fuse_activations(graph: Graph) -> Graph:
    """Relu and Clip(0, 6) join the linear operator before them, as they do inside both runtimes."""
    for node in graph.nodes:
        is_relu6 = (
            node.op == "Clip"
            and scalar_constant(graph, node.input(1)) == 0.0
            and scalar_constant(graph, node.input(2)) == 6.0
        )
        if node.op != "Relu" and not is_relu6:
            continue
        linear = graph.producers.get(node.inputs[0])
        if (
            linear is None
            or linear.op not in _FUSING
            or linear.activation
            or graph.sole_consumer(linear.output) is None
        ):
            continue
        fused = replace(linear, activation="Relu6" if is_relu6 else "Relu")
        graph = bypass(substitute(graph, {linear.name: [fused]}), node, linear.output)
    return graph
