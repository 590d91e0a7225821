"""What shapes and dtypes one node's outputs have, by ONNX's own inference."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefer.errors import InputError
from edgefer.graph.ir import OPSET, Array, Attribute, Node, TensorInfo

_SMALL = 64  # constants of up to so many items may decide shapes (Reshape, Slice, Pad)


def infer_outputs(
    node: Node, info: Mapping[str, TensorInfo], constants: Mapping[str, Array]
) -> dict[str, TensorInfo | None]:
    """Shape and dtype of each output of `node`; None where they are not known before running.

    Args:
        node: of `OPSET`, without a fused activation.
        info: of its inputs.
        constants: its inputs that are known, which may decide shapes.

    Raises:
        InputError: the inputs do not fit the operator.
    """
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op, OPSET, ""),
            node_proto(node),
            {value: type_proto(info[value]) for value in node.inputs if value},
            {
                value: numpy_helper.from_array(constants[value])
                for value in node.inputs
                if value in constants and constants[value].size <= _SMALL
            },
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        shapes = ", ".join(f"{value} {list(info[value].shape)}" for value in node.inputs if value)
        raise InputError(f"node {node.name!r}: {node.op} does not fit its inputs ({shapes})") from error
    return {value: _info(found[value]) if value in found else None for value in node.outputs if value}


def node_proto(node: Node, outputs: tuple[str, ...] | None = None) -> onnx.NodeProto:
    """The ONNX node of `node`, or the same with other `outputs`, without its fused activation."""
    proto = helper.make_node(node.op, node.inputs, node.outputs if outputs is None else outputs, node.name)
    for name, value in sorted(node.attributes.items()):
        if isinstance(value, np.ndarray):
            proto.attribute.append(helper.make_attribute(name, numpy_helper.from_array(value)))
        else:
            items = value if isinstance(value, tuple) else (value,)
            proto.attribute.append(_attribute(name, value, tuple(type(item).__name__ for item in items)))
    return proto


@lru_cache(1 << 10)
def _attribute(name: str, value: Attribute, kinds: tuple[str, ...]) -> onnx.AttributeProto:
    """An attribute, which takes longer to make than to copy; what equals another may be of other `kinds`: 1 and 1.0."""
    return helper.make_attribute(name, value)


def type_proto(info: TensorInfo) -> onnx.TypeProto:
    """ONNX's type of a value."""
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(info.dtype), info.shape)


def _info(found: onnx.TypeProto) -> TensorInfo | None:
    tensor = found.tensor_type
    if not tensor.elem_type or not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim):
        return None
    dims = tuple(dim.dim_value for dim in tensor.shape.dim)
    return TensorInfo(dims, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
