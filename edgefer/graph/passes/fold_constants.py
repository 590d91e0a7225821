"""Compute once, at conversion, what does not depend on the input."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgefer.errors import InputError
from edgefer.graph.ir import OPSET, Array, Graph, Node
from edgefer.graph.onnx_io import node_proto

LARGEST_RESULT = 64_000_000  # bytes: a graph that would unfold to more is hostile or misread


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes whose inputs are all constant, and shape queries, by their results."""
    constants: dict[str, Array] = dict(graph.constants)
    folded: dict[str, Array] = {}
    kept = []
    for node in graph.nodes:
        results = _evaluate(graph, node, constants)
        if results is None:
            kept.append(node)
        else:
            constants.update(results)
            folded.update(results)
    return graph.with_constants(folded).with_nodes(kept) if folded else graph


def _evaluate(graph: Graph, node: Node, constants: Mapping[str, Array]) -> dict[str, Array] | None:
    if any(value in graph.outputs for value in node.outputs):
        return None
    if node.op == "Shape":
        shape = graph.shape(node.inputs[0])
        start, stop = node.int("start", 0), node.int("end", len(shape))
        return {node.output: np.asarray(shape[start:stop], np.int64)}
    if node.op == "Size":
        return {node.output: np.asarray(prod(graph.shape(node.inputs[0])), np.int64)}
    if node.activation or not all(value in constants for value in node.inputs if value):
        return None
    size = sum(prod(graph.info[value].shape) * graph.info[value].dtype.itemsize for value in node.outputs if value)
    if size > LARGEST_RESULT:
        raise InputError(f"node {node.name!r} ({node.op}) would make a constant of {size:,} bytes")
    proto = node_proto(node, node.outputs)
    feeds = {value: constants[value] for value in node.inputs if value}
    signature = [
        helper.make_tensor_value_info(v, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for v, a in feeds.items()
    ]
    results = [onnx.ValueInfoProto(name=value) for value in node.outputs if value]
    model = helper.make_model(
        helper.make_graph([proto], "fold", signature, results), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    values = ReferenceEvaluator(model).run(None, feeds)
    return {value: np.asarray(array) for value, array in zip([v for v in node.outputs if v], values, strict=True)}
