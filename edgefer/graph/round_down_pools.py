"""Pools that round the number of their windows up, said by pads alone, before shapes are relied on.

Rounding up lets the last window reach beyond the declared padding, and a window that would begin in it is dropped:
which onnx's inference forgets at opset 18, LiteRT does not know, and ONNX Runtime's int8 average gets wrong, where
padding is counted and what is beyond it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_POOLS = ("AveragePool", "LpPool", "MaxPool")


def round_down_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without `ceil_mode` that computes the same; pools whose input has no known shape stay as they are."""
    if not any(map(_rounds_up, model.graph.node)):
        return model
    restated = onnx.ModelProto()
    restated.CopyFrom(model)
    while any(map(_rounds_up, restated.graph.node)):
        shapes = _shapes(restated)
        known = [node for node in restated.graph.node if _rounds_up(node) and node.input[0] in shapes]
        if not known:
            break
        for pool in known:
            if _restate(restated.graph, pool, shapes[pool.input[0]]) != shapes.get(pool.output[0], ())[2:]:
                break  # what follows was inferred from another shape
    return restated


def _rounds_up(node: onnx.NodeProto) -> bool:
    return node.op_type in _POOLS and any(a.name == "ceil_mode" and a.i for a in node.attribute)


def _shapes(model: onnx.ModelProto) -> Shapes:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for value in (*inferred.input, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _restate(graph: onnx.GraphProto, pool: onnx.NodeProto, shape: Sequence[int]) -> tuple[int, ...]:
    """Take `ceil_mode` from a pool of an input of `shape`, and return the shape of the maps that it makes."""
    stated = {attribute.name: helper.get_attribute_value(attribute) for attribute in pool.attribute}
    rank = len(shape) - 2
    kernel = stated["kernel_shape"]
    strides, dilations = stated.get("strides", [1] * rank), stated.get("dilations", [1] * rank)
    mode = stated.get("auto_pad", b"NOTSET")
    _set(pool, "ceil_mode", None)
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        return tuple(-(-size // stride) for size, stride in zip(shape[2:], strides, strict=True))
    _set(pool, "auto_pad", None)
    pads = [0] * 2 * rank if mode == b"VALID" else stated.get("pads", [0] * 2 * rank)
    before, after = pads[:rank], pads[rank:]
    reach = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel, dilations, strict=True)]
    axes = list(zip(shape[2:], reach, strides, before, after, strict=True))
    outputs = tuple(_windows(*axis) for axis in axes)
    needed = [
        max(last, (count - 1) * stride + taps - size - first)
        for count, (size, taps, stride, first, last) in zip(outputs, axes, strict=True)
    ]
    if stated.get("count_include_pad") and needed != after:
        _pad(graph, pool, [0, 0, *before, 0, 0, *after])
        _set(pool, "count_include_pad", None)
        before, needed = [0] * rank, [more - less for more, less in zip(needed, after, strict=True)]
    _set(pool, "pads", [*before, *needed])
    return outputs


def _windows(size: int, reach: int, stride: int, before: int, after: int) -> int:
    """How many windows there are: as many as begin before the padding behind."""
    rounded_up = -(-(size + before + after - reach) // stride) + 1
    return rounded_up - 1 if (rounded_up - 1) * stride >= size + before else rounded_up


def _pad(graph: onnx.GraphProto, pool: onnx.NodeProto, pads: Sequence[int]) -> None:
    """Put a Pad with zeros before a pool."""
    if not any(pads):
        return
    amounts, padded = f"{pool.output[0]}/pads", f"{pool.output[0]}/padded"
    graph.initializer.append(numpy_helper.from_array(np.asarray(pads, np.int64), amounts))
    index = next(index for index, node in enumerate(graph.node) if node.output[:1] == pool.output[:1])
    graph.node.insert(index, helper.make_node("Pad", [pool.input[0], amounts], [padded], f"{pool.output[0]}/Pad"))
    graph.node[index + 1].input[0] = padded


def _set(node: onnx.NodeProto, name: str, value: Any) -> None:
    others = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, *([] if value is None else [helper.make_attribute(name, value)])])
