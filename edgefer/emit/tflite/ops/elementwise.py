"""Arithmetic, element by element, in whatever layout the larger operand lives in."""

from __future__ import annotations

from math import prod

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC, Layout, default, identity
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar
from edgefer.graph.patterns import is_never_negative

_BINARY = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL"}
_OPTIONS = {"Add": "AddOptions", "Sub": "SubOptions", "Mul": "MulOptions"}
_EXTREMES = {"Max": "MAXIMUM", "Min": "MINIMUM"}
_UNARY = {
    "Exp": ("EXP", "ExpOptions"),
    "Log": ("LOG", ""),
    "Sqrt": ("SQRT", ""),
    "Abs": ("ABS", "AbsOptions"),
    "Neg": ("NEG", "NegOptions"),
    "Floor": ("FLOOR", ""),
    "Ceil": ("CEIL", ""),
    "Round": ("ROUND", ""),
    "Sin": ("SIN", ""),
    "Cos": ("COS", "CosOptions"),
}
_POWERS = {2.0: ("SQUARE", "SquareOptions"), 0.5: ("SQRT", ""), -0.5: ("RSQRT", "")}


@emits(*_BINARY, fuses=True)
def binary(at: Site) -> None:
    """Two operands, broadcast as ONNX does."""
    layout = common_layout(at)
    operands = [_operand(at, 0, layout), _operand(at, 1, layout)]
    at.emit(
        _BINARY[at.node.op],
        operands,
        at.output(layout),
        _OPTIONS[at.node.op],
        fusedActivationFunction=at.activation,
    )


@emits("Div", fuses=True)
def divide(at: Site) -> None:
    """Division, in float: there is no int8 kernel."""
    at = at.in_float()
    layout = common_layout(at)
    operands = [at.input(0, layout), at.input(1, layout)]
    at.emit("DIV", operands, at.output(layout), "DivOptions", fusedActivationFunction=at.activation)


@emits("Mod")
def remainder(at: Site) -> None:
    """Of integers, with the sign of the divisor."""
    layout = common_layout(at)
    at.emit("FLOOR_MOD", [at.input(0, layout), at.input(1, layout)], at.output(layout), "FloorModOptions")


@emits("Reciprocal")
def reciprocal(at: Site) -> None:
    """One over x, in float."""
    at = at.in_float()
    layout = at.layout()
    source = at.input(0, layout)
    at.emit("DIV", [scalar(at, 1.0, source), source], at.output(layout), "DivOptions")


@emits(*_EXTREMES)
def extreme(at: Site) -> None:
    """The largest or smallest of one or more operands, in float: XNNPACK has no int8 kernel."""
    at = at.in_float()
    layout = common_layout(at)
    result = at.input(0, layout)
    last = len(at.node.inputs) - 1
    target = at.output(layout)
    if last == 0:
        at.values.reshape_into(result, target)
    for index in range(1, last + 1):
        operand = at.input(index, layout)
        tensors = at.values.writer.tensors
        shape = np.broadcast_shapes(tensors[result].shape, tensors[operand].shape)
        total = target if index == last else at.temporary(shape, f"first_{index + 1}", like=target)
        at.emit(_EXTREMES[at.node.op], [result, operand], total, "MaximumMinimumOptions")
        result = total


@emits(*_UNARY)
def unary(at: Site) -> None:
    """A function of one operand, in float."""
    at = at.in_float()
    layout = at.layout()
    op, options = _UNARY[at.node.op]
    at.emit(op, [at.input(0, layout)], at.output(layout), options)


@emits("Pow")
def power(at: Site) -> None:
    """A power, in float; squares, cubes and roots have kernels that delegates take over."""
    at = at.in_float()
    layout = common_layout(at)
    exponent = at.graph.constants.get(at.node.inputs[1])
    number = float(exponent.item()) if exponent is not None and exponent.size == 1 else None
    if number in _POWERS:
        op, options = _POWERS[number]
        at.emit(op, [at.input(0, layout)], at.output(layout), options)
    elif number == 3.0:
        source = at.input(0, layout)
        square = at.temporary(at.values.writer.tensors[source].shape, "square")
        at.emit("SQUARE", [source], square, "SquareOptions")
        at.emit("MUL", [square, source], at.output(layout), "MulOptions")
    elif number is not None and number > 0 and is_never_negative(at.graph, at.node.inputs[0]):
        source = at.input(0, layout)
        logarithm, multiple = (
            at.temporary(at.values.writer.tensors[source].shape, name) for name in ("logarithm", "multiple")
        )
        at.emit("LOG", [source], logarithm)
        at.emit("MUL", [logarithm, scalar(at, number, logarithm)], multiple, "MulOptions")
        at.emit("EXP", [multiple], at.output(layout), "ExpOptions")
    else:
        at.emit("POW", [at.input(0, layout), at.input(1, layout)], at.output(layout), "PowOptions")


@emits("Cast")
def cast(at: Site) -> None:
    """Another number type; pixels become real numbers by DEQUANTIZE, which delegates take over."""
    layout = at.layout()
    source, target = at.input(0, layout), at.output(layout)
    have, want = (at.values.writer.tensors[tensor].dtype for tensor in (source, target))
    if (have, want) == ("uint8", "float32"):
        at.emit("DEQUANTIZE", [source], target, "DequantizeOptions")
    else:
        types = {"inDataType": _type(have), "outDataType": _type(want)}
        at.emit("CAST", [source], target, "CastOptions", **types)


def _operand(at: Site, index: int, layout: Layout) -> int:
    """The tensor of an operand.

    An int8 constant with a number per channel is repeated for one row of the feature map: kernels take the axes that
    both operands have in one loop, and a loop over a few channels costs as much to begin as to run.
    """
    value, shape = at.node.inputs[index], at.output_shape
    constant = at.graph.constants.get(value)
    if constant is None or not at.quantized or layout != NHWC or constant.shape != (1, shape[1], 1, 1):
        return at.input(index, layout)
    row = np.broadcast_to(constant, (1, shape[1], 1, shape[3]))
    return at.values.constant(f"{value}/row", row, at.values.params(value), layout)


def _type(dtype: str) -> int:
    return int(getattr(schema.TensorType, dtype.upper()))


def common_layout(at: Site) -> Layout:
    """The layout of the largest operand that is computed and has the output's rank."""
    rank = len(at.output_shape)
    candidates = [
        (prod(at.shape(index)), layout != identity(rank), layout)
        for index, value in enumerate(at.node.inputs)
        if (layout := at.values.layout(value)) is not None and len(layout) == rank
    ]
    return max(candidates)[2] if candidates else default(rank)
