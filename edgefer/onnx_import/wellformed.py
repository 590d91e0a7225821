"""Whether a node is a call of its operator: what ONNX's own inference takes for granted, and all behind it does too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper

from edgefer.errors import InputError
from edgefer.graph.ir import OPSET, Node, TensorInfo

_Shape: TypeAlias = tuple[int, ...]

_Option = onnx.defs.OpSchema.FormalParameterOption
_Kind: Any = onnx.defs.OpSchema.AttrType
_KINDS: Mapping[Any, type] = {
    _Kind.INT: int,
    _Kind.FLOAT: float,
    _Kind.STRING: str,
    _Kind.INTS: tuple,
    _Kind.FLOATS: tuple,
    _Kind.STRINGS: tuple,
}


def require_call(node: Node, schema: onnx.defs.OpSchema) -> None:
    """A node has as many inputs and outputs as its operator, and attributes of its types.

    Raises:
        InputError: it has not.
    """
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise _damaged(node, f"it has {len(node.inputs)} inputs")
    if not schema.min_output <= len(node.outputs) <= schema.max_output or not any(node.outputs):
        raise _damaged(node, f"it has {len(node.outputs)} outputs")
    for formal, value in zip(schema.inputs[: schema.min_input], node.inputs, strict=False):
        if formal.option == _Option.Single and not value:
            raise _damaged(node, f"its input {formal.name!r} is missing")
    for name, attribute in schema.attributes.items():
        if name in node.attributes and not isinstance(node.attributes[name], _KINDS.get(attribute.type, object)):
            raise _damaged(node, f"its attribute {name} is of another type than the operator's")
        if attribute.required and name not in node.attributes:
            raise _damaged(node, f"its attribute {name} is missing")


def require_operands(node: Node, info: Mapping[str, TensorInfo]) -> None:
    """The inputs of a node of `OPSET` are of types and shapes that its operator takes.

    Raises:
        InputError: they are not.
    """
    formals = onnx.defs.get_schema(node.op, OPSET, "").inputs
    bound: dict[str, str] = {}
    for index, value in enumerate(node.inputs):
        if not value:
            continue
        formal = formals[min(index, len(formals) - 1)]
        number = helper.np_dtype_to_tensor_dtype(info[value].dtype)
        found = f"tensor({onnx.TensorProto.DataType.Name(number).lower()})"
        same = bound.setdefault(formal.type_str, found) if formal.is_homogeneous else found
        if found not in formal.types or found != same:
            raise _damaged(node, f"its input {formal.name!r}, {value!r}, is of type {info[value].dtype}")
    rule = _RULES.get(node.op)
    shapes = [info[value].shape if value else None for value in node.inputs]
    if rule and not rule(node, shapes):
        given = ", ".join(f"{value} {list(info[value].shape)}" for value in node.inputs if value)
        raise _damaged(node, f"the shapes of its inputs do not fit each other ({given})")


def _convolution(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    x, weights, bias = (*shapes, None)[:3]
    assert x is not None
    assert weights is not None
    group = node.int("group", 1)
    if len(x) < 3 or len(weights) != len(x) or group < 1:
        return False
    if node.op == "Conv":
        read, made, grouped = weights[1] * group, weights[0], weights[0]
    else:
        read, made, grouped = weights[0], weights[1] * group, weights[0]
    return x[1] == read and grouped % group == 0 and bias in (None, (made,))


def _by_channel(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    x, *others = shapes
    return x is not None and len(x) > 1 and all(other == x[1:2] for other in others)


def _bounds(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    return all(shape in (None, (), (1,)) for shape in shapes[1:])


def _lists(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    return all(shape is None or len(shape) == 1 for shape in shapes[1:])


def _gemm(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    a, b, summand = (*shapes, None)[:3]
    assert a is not None
    assert b is not None
    result = (a[1 if node.int("transA") else 0], b[0 if node.int("transB") else 1])
    return summand is None or _broadcasts(summand, result)


def _layer_norm(node: Node, shapes: Sequence[_Shape | None]) -> bool:
    x, *others = shapes
    assert x is not None
    axis = node.int("axis", -1)
    return -len(x) <= axis < len(x) and all(other is None or _broadcasts(other, x) for other in others)


def _broadcasts(shape: _Shape, wanted: _Shape) -> bool:
    """Whether a value of `shape` is one of `wanted` by ONNX's rules, which may not enlarge that."""
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


_RULES: Mapping[str, Callable[[Node, Sequence[_Shape | None]], bool]] = {
    "BatchNormalization": _by_channel,
    "Clip": _bounds,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "InstanceNormalization": _by_channel,
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("Expand", "Reshape", "Resize", "Slice", "Split", "Tile"), _lists),
}
"""What ONNX's inference of shapes does not look at: whether the shapes of a node's inputs fit each other."""


def _damaged(node: Node, what: str) -> InputError:
    return InputError(
        f"node {node.name!r} ({node.op}): {what}", remedy="The file is damaged or invalid: export it again."
    )
