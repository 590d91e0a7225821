"""What a node computes where that is known before running: from constants, or from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from edgefer.errors import InputError
from edgefer.graph.inference import node_proto
from edgefer.graph.ir import OPSET, Array, Node, TensorInfo

LARGEST_RESULT = 64_000_000  # bytes: a graph that would unfold to more is hostile or misread

_NO_LARGER_THAN_INPUT = {"Compress", "NonZero", "Unique"}  # whose output is not known in advance


def fold(
    node: Node,
    info: Mapping[str, TensorInfo],
    outputs: Mapping[str, TensorInfo | None],
    constants: Mapping[str, Array],
) -> dict[str, Array] | None:
    """The node's outputs, or None where they depend on more than `constants` and shapes.

    Args:
        node: of `OPSET`.
        info: shape and dtype of its inputs.
        outputs: shape and dtype of its outputs, where they are known before running.
        constants: values that are known.

    Raises:
        InputError: what it makes of constants would fill the memory, or it cannot be computed.
    """
    if node.op == "Shape":
        shape = info[node.inputs[0]].shape
        start, stop = node.int("start", 0), node.int("end", len(shape))
        return {node.output: np.asarray(shape[start:stop], np.int64)}
    if node.op == "Size":
        return {node.output: np.asarray(prod(info[node.inputs[0]].shape), np.int64)}
    if node.activation or not all(value in constants for value in node.inputs if value):
        return None
    from onnx.reference import ReferenceEvaluator  # hundreds of modules, and 12 MB, that many a network does without

    _require_bounded(node, outputs)
    feeds = {value: constants[value] for value in node.inputs if value}
    if node.op == "CumSum":  # of which exporters state the axis as a list of one
        feeds[node.inputs[1]] = feeds[node.inputs[1]].reshape(())
    results = [value for value in node.outputs if value]
    try:
        with np.errstate(all="ignore"):
            arrays = ReferenceEvaluator(_model(node, feeds, results)).run(None, feeds)
        computed = {value: np.asarray(array) for value, array in zip(results, arrays, strict=True)}
    except Exception as error:  # the reference is numpy code, which raises anything
        raise InputError(f"node {node.name!r} ({node.op}) cannot be computed from its constants") from error
    return {value: _as(array, outputs.get(value)) for value, array in computed.items()}


def _require_bounded(node: Node, outputs: Mapping[str, TensorInfo | None]) -> None:
    known = [entry for entry in outputs.values() if entry is not None]
    size = sum(prod(entry.shape) * entry.dtype.itemsize for entry in known)
    if size > LARGEST_RESULT:
        raise InputError(f"node {node.name!r} ({node.op}) would make a constant of {size:,} bytes")
    if len(known) < len(outputs) and node.op not in _NO_LARGER_THAN_INPUT:
        raise InputError(f"node {node.name!r} ({node.op}): how large its constant result would be cannot be told")


def _model(node: Node, feeds: Mapping[str, Array], results: list[str]) -> ModelProto:
    signature = [
        helper.make_tensor_value_info(v, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for v, a in feeds.items()
    ]
    graph = helper.make_graph([node_proto(node)], "fold", signature, [ValueInfoProto(name=value) for value in results])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _as(array: Array, expected: TensorInfo | None) -> Array:
    """The reference computes some results in a wider type than ONNX states."""
    return array if expected is None else np.asarray(array, expected.dtype)
