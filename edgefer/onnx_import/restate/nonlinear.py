"""Activations: newer ones spelled out, bounds and axes where `OPSET` has them."""

from __future__ import annotations

from math import pi, prod, sqrt

import numpy as np

from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@restates("Gelu", 20)
def gelu(call: Call) -> None:
    """`x (1 + erf(x / sqrt 2)) / 2`, or its approximation by tanh, as exporters of older opsets write them."""
    x = call.node.inputs[0]
    half, one = call.scalar("half", 0.5), call.scalar("one", 1)
    if call.node.str("approximate", "none") == "none":
        grown = call.add("Erf", call.add("Div", x, call.scalar("root", sqrt(2))))
    else:
        cube = call.add("Mul", call.add("Mul", call.add("Mul", x, x), x), call.scalar("cubic", 0.044715))
        grown = call.add("Tanh", call.add("Mul", call.add("Add", x, cube), call.scalar("root", sqrt(2 / pi))))
    call.end("Mul", call.add("Mul", x, call.add("Add", grown, one)), half)


@restates("Clip", 6)
def clip(call: Call) -> None:
    """Bounds were attributes."""
    bounds = [
        call.scalar(bound, call.node.float(bound)) if bound in call.node.attributes else "" for bound in ("min", "max")
    ]
    call.end("Clip", call.node.inputs[0], *bounds)


@restates("Softmax", 1, 11)
@restates("LogSoftmax", 1, 11)
@restates("Hardmax", 1, 11)
def over_all_axes_from(call: Call) -> None:
    """Before opset 13, over all axes from `axis` on together, 1 where none is named."""
    x, shape = call.node.inputs[0], call.shape()
    axis = call.node.int("axis", 1) % max(len(shape), 1)
    if prod(shape[axis + 1 :]) == 1:
        call.end(call.node.op, x, axis=axis)
        return
    rows = call.add("Reshape", x, call.number("rows", (prod(shape[:axis]), prod(shape[axis:]))))
    call.end("Reshape", call.add(call.node.op, rows, axis=1), call.number("shape", shape))


@restates("Dropout", 6, 7, 10, 12, 13, 22)
def dropout(call: Call) -> None:
    """Hands on what it is given, when it infers; the mask lets everything pass."""
    training = call.constant(2)
    if call.node.input(2) and (training is None or training.any()):
        raise call.unsupported("Dropout in training mode", "Export it as it infers: model.eval() before exporting.")
    x, outputs = call.node.inputs[0], call.node.outputs
    if len(outputs) > 1 and outputs[1]:
        call.scope.define(outputs[1], np.ones(call.shape(), bool))
    call.first_output().end("Identity", x)
