"""Which function restates an operator of a given opset.

An operator is as it is at `OPSET` where its version is the same.  Where it is another, a function that is registered
for it restates it; and where the two versions differ in nothing but the types that they take, attributes that were
added or renamed defaults, it is taken over with its own version's defaults.  What `OPSET` lacks altogether, but ONNX
defines by older operators, is its definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import onnx
from onnx import helper

from edgefer.errors import InputError
from edgefer.graph.inference import type_proto
from edgefer.graph.ir import OPSET
from edgefer.onnx_import.scope import Call
from edgefer.onnx_import.wellformed import require_call

Restatement: TypeAlias = Callable[[Call], None]

_RESTATED: dict[tuple[str, int], Restatement] = {}


def restates(op: str, *versions: int) -> Callable[[Restatement], Restatement]:
    """Register a function for `op` as the given opsets defined it."""

    def register(function: Restatement) -> Restatement:
        _RESTATED.update({(op, version): function for version in versions})
        return function

    return register


def restatement(call: Call, opset: int) -> Restatement | None:
    """The function that restates the call, a node of `opset`; None where its definition must do.

    Raises:
        InputError: ONNX knows no such operator, or its meaning cannot be had at `OPSET`.
    """
    schema = _schema(call, opset)
    require_call(call.node, schema)
    if found := _RESTATED.get((call.node.op, schema.since_version)):
        return found
    if _exists_at(call.node.op, OPSET):
        return lambda call: _taken_over(call, schema)
    return None


def function_of(call: Call, proto: onnx.NodeProto, opset: int) -> onnx.FunctionProto:
    """ONNX's own definition of the call's operator by older ones.

    Raises:
        UnsupportedOperatorError: there is none.
    """
    schema: Any = _schema(call, opset)  # onnx's stubs do not know of functions
    function = None
    if schema.has_context_dependent_function:
        types = [type_proto(call.scope.info[v]) if v else onnx.TypeProto() for v in call.node.inputs]
        version = max((v for v in schema.context_dependent_function_opset_versions if v <= opset), default=opset)
        function = schema.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), [kind.SerializeToString() for kind in types]
        )
    elif schema.has_function:
        function = schema.function_body.SerializeToString()
    if not function:
        raise call.unsupported(f"{call.node.op} of opset {schema.since_version}")
    parsed: onnx.FunctionProto = onnx.FunctionProto.FromString(function)
    return parsed


def _schema(call: Call, opset: int) -> onnx.defs.OpSchema:
    try:
        return onnx.defs.get_schema(call.node.op, opset, "")
    except onnx.defs.SchemaError as error:
        raise InputError(
            f"node {call.node.name!r}: opset {opset} has no operator {call.node.op}",
            remedy="Export the network with standard operators only.",
        ) from error


def _exists_at(op: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _taken_over(call: Call, old: onnx.defs.OpSchema) -> None:
    new = onnx.defs.get_schema(call.node.op, OPSET, "")
    attributes = dict(call.node.attributes)
    for name in [*attributes]:
        if name not in new.attributes:
            default = old.attributes[name].default_value if name in old.attributes else None
            if default is None or helper.get_attribute_value(default) != attributes.pop(name):
                raise call.unsupported(f"{call.node.op} with {name}")
    for name, attribute in new.attributes.items():
        before = old.attributes[name].default_value if name in old.attributes else attribute.default_value
        if (
            before.type
            and name not in attributes
            and before.SerializeToString() != attribute.default_value.SerializeToString()
        ):
            value = helper.get_attribute_value(before)
            attributes[name] = value.decode() if isinstance(value, bytes) else value
    if len(call.node.inputs) > new.max_input:
        raise call.unsupported(f"{call.node.op} of opset {old.since_version} with {len(call.node.inputs)} inputs")
    call.end(call.node.op, *call.node.inputs, **attributes)
