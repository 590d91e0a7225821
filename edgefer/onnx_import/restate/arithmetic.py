"""Arithmetic: the broadcasting of opset 6, which named an axis, and what Gemm adds."""

from __future__ import annotations

import numpy as np

from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@restates("Add", 6)
@restates("Sub", 6)
@restates("Mul", 6)
@restates("Div", 6)
@restates("And", 1)
@restates("Or", 1)
@restates("Xor", 1)
@restates("Equal", 1)
@restates("Greater", 1)
@restates("Less", 1)
@restates("Pow", 1)
def broadcast_by_axis(call: Call) -> None:
    """The second operand's axes follow each other from `axis` on; at its end, where none is named."""
    first, second = call.node.inputs[0], call.node.input(1)
    shape, rank = call.shape(1), len(call.shape(0))
    axis = call.node.int("axis", -1)
    if call.node.int("broadcast") and axis >= 0 and shape:
        placed = (*shape, *(1,) * (rank - axis - len(shape)))
        second = call.add("Reshape", second, call.number("shape", placed))
    call.end(call.node.op, first, second)


@restates("PRelu", 6)
def prelu_by_channel(call: Call) -> None:
    """A slope for each channel, which is axis 1."""
    slope = call.node.input(1)
    count, rank = call.shape(1), len(call.shape(0))
    if len(count) == 1 and rank > 2 and count[0] > 1:
        slope = call.add("Reshape", slope, call.number("shape", (*count, *(1,) * (rank - 2))))
    call.end("PRelu", call.node.inputs[0], slope)


@restates("PRelu", 7, 9, 16)
def prelu(call: Call) -> None:
    """A slope that broadcasts to the input, which ONNX's inference does not look at."""
    x, slope = call.shape(), call.shape(1)
    fits = len(slope) <= len(x) and all(b in (1, a) for a, b in zip(x[::-1], slope[::-1], strict=False))
    if not fits:
        channels = f"Give it the shape {[*slope, *(1,) * (len(x) - 2)]}: a slope for each channel."
        raise call.unsupported(f"PRelu with a slope of {list(slope)} for {list(x)}", channels)
    call.end("PRelu", *call.node.inputs)


@restates("Gemm", 6, 7, 9, 11, 13)
def gemm(call: Call) -> None:
    """What is added is one number for each column, also where the file has one for all."""
    a, b, *added = call.node.inputs
    bias = call.constant(2)
    columns = call.shape(1)[0 if call.node.int("transB") else 1] if len(call.shape(1)) == 2 else 0
    if bias is not None and bias.size == 1 and bias.shape not in ((columns,), (1, columns)):
        added = [call.number("bias", np.full(columns, bias.reshape(-1)[0]))]
    call.end("Gemm", a, b, *added, **call.attributes("broadcast"))


@restates("Cast", 6, 9, 13, 19, 21, 23, 24, 25, 28)
def cast(call: Call) -> None:
    """To a type that edgefer computes with: all floats are float32."""
    dtype = call.scope.precision.element_type(call.node.int("to"), f"what node {call.node.name!r} (Cast) makes")
    call.cast(call.node.inputs[0], dtype)


@restates("CastLike", 15, 19, 21, 23, 24, 25)
def cast_like(call: Call) -> None:
    """To the type of another value, which is known."""
    call.cast(call.node.inputs[0], call.info(1).dtype)
