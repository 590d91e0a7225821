"""The simplest Plan that is valid: ranges seen on some inputs, everything that can be int8 is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgefer.graph.ir import Array, Graph, Node
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import is_representable
from edgefer.quantize.scales.unstorable import filled_values, is_read_by_root
from tests.emit.harness import values_of

LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
MOVING = {
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
OTHER = {"Add", "AveragePool", "Clip", "GlobalAveragePool", "Mul", "ReduceMean", "Relu", "Sub"}
FIXED = {"Sigmoid": QuantParams("int8", (1 / 256,), (-128,)), "Tanh": QuantParams("int8", (1 / 128,), (0,))}
OPERANDS = {"Add", "Mul", "Sub", "Concat"}


def minmax_plan(graph: Graph, samples: Sequence[Mapping[str, Array]], *, io_int8: bool = False) -> Plan:
    """A Plan for `graph` from the values it computes on `samples`."""
    filled = filled_values(graph)
    chosen = [node for node in graph.nodes if _is_quantizable(graph, node) and not is_read_by_root(graph, node)]
    chosen = [node for node in chosen if filled.isdisjoint(_activations(graph, node))]
    values = {v for node in chosen for v in _activations(graph, node)}
    if not io_int8:
        outside = {*graph.inputs, *graph.outputs}
        chosen = [node for node in chosen if not outside & set(_activations(graph, node))]
        values = {v for node in chosen for v in _activations(graph, node)}
    groups = _groups(graph, chosen, values)
    fixed = {
        groups[n.output] for n in chosen if n.op in FIXED and sum(g == groups[n.output] for g in groups.values()) > 1
    }
    chosen = [node for node in chosen if not (node.op in MOVING and groups[node.output] in fixed)]
    groups = _groups(graph, chosen, {v for node in chosen for v in _activations(graph, node)})
    ranges = _ranges(graph, samples, groups)
    tensors = {value: _asymmetric(*ranges[root]) for value, root in groups.items()}
    for node in chosen:
        if node.op in FIXED:
            tensors[node.output] = FIXED[node.op]
    for node in chosen:
        tensors |= _constants(graph, node, tensors)
    chosen = [node for node in chosen if is_representable(node, tensors)]
    read = {value for node in chosen for value in (*node.inputs, *node.outputs)}
    return Plan({v: p for v, p in tensors.items() if v in read}, {node.name: "int8" for node in chosen})


def _is_quantizable(graph: Graph, node: Node) -> bool:
    if node.op in LINEAR:
        fits = not node.input(2) or graph.constants[node.inputs[2]].size == graph.shape(node.output)[1]
        return fits and graph.is_constant(node.inputs[1]) and not graph.is_constant(node.inputs[0])
    return node.op in MOVING | OTHER | set(FIXED)


def _activations(graph: Graph, node: Node) -> list[str]:
    """Real-valued inputs that are computed, and outputs."""
    inputs = [v for v in node.inputs if v and not graph.is_constant(v)]
    return [v for v in (*inputs, *node.outputs) if v and graph.info[v].dtype == np.float32]


def _groups(graph: Graph, nodes: Sequence[Node], values: set[str]) -> dict[str, str]:
    """For each value, the one whose parameters it shares."""
    root = {value: value for value in sorted(values)}

    def find(value: str) -> str:
        while root[value] != value:
            value = root[value]
        return value

    for node in nodes:
        if node.op in MOVING:
            first, *others = _activations(graph, node)
            for other in others:
                root[find(other)] = find(first)
    return {value: find(value) for value in root}


def _ranges(
    graph: Graph, samples: Sequence[Mapping[str, Array]], groups: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = dict.fromkeys(groups.values(), (0.0, 0.0))
    for feeds in samples:
        for value, array in values_of(graph, feeds).items():
            if value in groups:
                low, high = found[groups[value]]
                found[groups[value]] = (min(low, float(array.min())), max(high, float(array.max())))
    return found


def _asymmetric(low: float, high: float) -> QuantParams:
    scale = float(np.float32(max(high - low, 0.1) / 255))
    return QuantParams("int8", (scale,), (int(np.clip(round(-128 - low / scale), -128, 127)),))


def _constants(graph: Graph, node: Node, tensors: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    constants = {v: graph.constants[v] for v in node.inputs if graph.is_constant(v)}
    if node.op in LINEAR:
        weights = constants[node.inputs[1]]
        axis = _output_axis(node)
        others = tuple(a for a in range(weights.ndim) if a != axis)
        scales = [float(np.float32(max(m, 1e-6) / 127)) for m in np.abs(weights).max(axis=others)]
        found = {node.inputs[1]: QuantParams("int8", tuple(scales), (0,) * len(scales), axis, narrow=True)}
        if node.input(2):
            size = constants[node.inputs[2]].size
            repeated = scales * (size // len(scales))  # groups of a transposed convolution share them
            products = tuple(float(np.float32(tensors[node.inputs[0]].scale[0] * scale)) for scale in repeated)
            found[node.inputs[2]] = QuantParams("int32", products, (0,) * size, constants[node.inputs[2]].ndim - 1)
        return found
    if node.op in OPERANDS:
        return {v: _asymmetric(min(0.0, float(a.min())), max(0.0, float(a.max()))) for v, a in constants.items()}
    return {}


def _output_axis(node: Node) -> int:
    if node.op == "Gemm":
        return 0 if node.int("transB") else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op]
