"""Small graphs, and what ONNX Runtime and LiteRT make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.onnx_io import from_onnx, to_onnx
from edgefer.plan import Plan

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def graph_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
) -> Graph:
    """The graph of ONNX nodes (`onnx.helper.make_node`) on float inputs of the shapes stated."""
    proto = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return from_onnx(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def sample(graph: Graph, seed: int = 0, scale: float = 1.0) -> dict[str, Array]:
    """Normally distributed inputs."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(graph.shape(name)) * scale).astype(np.float32) for name in graph.inputs}


def run_onnx(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime computes."""
    return run_model(to_onnx(graph), feeds)


def run_model(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime makes of a model, step by step: its optimiser merges pads into pools that cannot hold them."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def run_as_shipped(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime makes of a model as applications load it, with its fused kernels."""
    session = ort.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def values_of(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every value that a graph computes, its inputs included."""
    names = [value for node in graph.nodes for value in node.outputs if value]
    return {**feeds, **run_model(to_onnx(graph, names), feeds)}


def run_tflite(model: bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What LiteRT computes."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    return dict(interpreter.get_signature_runner()(**feeds))


def operators(model: bytes) -> list[str]:
    """The builtin operators of a file, in order."""
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    return [_NAMES[parsed.operatorCodes[op.opcodeIndex].builtinCode] for op in parsed.subgraphs[0].operators]


def alone(graph: Graph, plan: Plan, node: Node) -> tuple[Graph, Plan]:
    """A graph of one node, whose inputs and outputs are stored as the Plan says, and the Plan for it."""
    inputs = tuple(dict.fromkeys(v for v in node.inputs if v and not graph.is_constant(v)))
    single = replace(graph, nodes=(node,), inputs=inputs, outputs=tuple(v for v in node.outputs if v))
    values = {*node.inputs, *node.outputs}
    return single, Plan({v: p for v, p in plan.tensors.items() if v in values}, {node.name: plan.nodes[node.name]})


def int8_error(graph: Graph, plan: Plan, node: Node, feeds: Mapping[str, Array], model: bytes) -> int:
    """The largest difference, in steps, between int8 `node` and the real function of the same stored numbers.

    Args:
        graph: a graph of `node` alone.
        plan: stores its inputs, outputs and constants as integers.
        node: the node.
        feeds: real inputs.
        model: the file of `graph`.
    """
    stored = {value: plan.tensors[value].quantize(array) for value, array in feeds.items()}
    exact = {value: plan.tensors[value].dequantize(array) for value, array in stored.items()}
    constants = {
        value: plan.tensors[value].dequantize(plan.tensors[value].quantize(array))
        for value, array in graph.constants.items()
        if value in plan.tensors
    }
    real = run_onnx(graph.with_constants(constants), exact)
    found = run_tflite(model, stored)
    steps = [
        np.abs(found[value].astype(np.int32) - plan.tensors[value].quantize(real[value]).astype(np.int32)).max()
        for value in node.outputs
        if value
    ]
    return int(max(steps))
