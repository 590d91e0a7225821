"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC, Layout
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import SAME, VALID, Axis, Window, padded, window
from edgefer.graph.ir import Array
from edgefer.graph.passes.resolve_padding import same_pads
from edgefer.graph.patterns import LARGEST_DEPTHWISE, is_large_depthwise, is_pointwise
from edgefer.plan import QuantParams

_OHWI: Layout = (0, 2, 3, 1)  # of ONNX's (out, in, height, width)
_1HWO: Layout = (1, 2, 3, 0)


@emits("Conv", fuses=True)
def convolution(at: Site) -> None:
    """Conv with any number of groups; as many as channels is the depthwise kernel."""
    at.require_rank(4)
    channels = at.shape()[1]
    out_channels, _, *kernel = at.shape(1)
    if at.stores_int4(1) and is_pointwise(at.graph, at.node):
        _product(at)
        return
    slide = window(at, kernel)
    depthwise = at.node.int("group", 1) == channels > 1
    if depthwise and not at.quantized and is_large_depthwise(at.graph, at.node):
        _in_tiles(at, slide)
        return
    source = at.input(0, NHWC)
    if slide.padding is None:
        source = padded(at, source, slide.amounts)
    options = {
        "padding": VALID if slide.padding is None else slide.padding,
        "strideH": slide.height.stride,
        "strideW": slide.width.stride,
        "dilationHFactor": slide.height.dilation,
        "dilationWFactor": slide.width.dilation,
        "fusedActivationFunction": at.activation,
    }
    inputs = [source, at.input(1, _1HWO if depthwise else _OHWI), bias_or_zeros(at, out_channels)]
    if depthwise:
        at.emit(
            "DEPTHWISE_CONV_2D",
            inputs,
            at.output(NHWC),
            "DepthwiseConv2DOptions",
            depthMultiplier=out_channels // channels,
            **options,
        )
    else:
        at.emit("CONV_2D", inputs, at.output(NHWC), "Conv2DOptions", **options)


def _in_tiles(at: Site, slide: Window) -> None:
    """A depthwise convolution of more taps than there are kernels for, as the sum of smaller ones."""
    source = at.input(0, NHWC)
    if any(any(pair) for pair in slide.amounts):
        source = padded(at, source, slide.amounts)
    out_channels, channels = at.shape(1)[0], at.shape()[1]
    target = at.output(NHWC)
    shape = at.values.writer.tensors[target].shape
    zeros = at.values.constant("zero bias", np.zeros(out_channels, np.float32))
    tiles = _tiles(slide.height.kernel, slide.width.kernel)
    total = -1
    for index, (rows, columns) in enumerate(tiles):
        read = _reach(at, source, f"read_{index}", (slide.height, rows), (slide.width, columns))
        weights = at.values.taps(at.node.inputs[1], f"{at.node.inputs[1]}/{index}", (rows, columns), _1HWO)
        made = at.temporary(shape, f"tile_{index}")
        at.emit(
            "DEPTHWISE_CONV_2D",
            [read, weights, zeros if index else bias_or_zeros(at, out_channels)],
            made,
            "DepthwiseConv2DOptions",
            padding=VALID,
            depthMultiplier=out_channels // channels,
            strideH=slide.height.stride,
            strideW=slide.width.stride,
            dilationHFactor=slide.height.dilation,
            dilationWFactor=slide.width.dilation,
        )
        is_last = index == len(tiles) - 1
        if index:
            result = target if is_last else at.temporary(shape, f"sum_{index}")
            fused = {"fusedActivationFunction": at.activation} if is_last else {}
            at.emit("ADD", [total, made], result, "AddOptions", **fused)
            made = result
        total = made


def _tiles(height: int, width: int) -> list[tuple[slice, slice]]:
    """As few rectangles of a kernel as there can be, of which each has a kernel of its own."""
    sides = ((rows, min(LARGEST_DEPTHWISE // rows, width)) for rows in range(1, min(LARGEST_DEPTHWISE, height) + 1))
    rows, columns = min(sides, key=lambda side: -(-height // side[0]) * -(-width // side[1]))
    return [
        (slice(top, min(top + rows, height)), slice(left, min(left + columns, width)))
        for top, left in product(range(0, height, rows), range(0, width, columns))
    ]


def _reach(at: Site, source: int, name: str, *axes: tuple[Axis, slice]) -> int:
    """The part of a padded map that some taps along its height and width read."""
    whole = at.values.writer.tensors[source].shape
    begin, sizes = [0] * 4, list(whole)
    for place, (axis, taps) in enumerate(axes, 1):
        begin[place] = taps.start * axis.dilation
        sizes[place] = (axis.outputs - 1) * axis.stride + (taps.stop - taps.start - 1) * axis.dilation + 1
    if sizes == list(whole):
        return source
    part = at.temporary(sizes, name, like=source)
    at.emit("SLICE", [source, at.integers(begin, "begin"), at.integers(sizes, "size")], part, "SliceOptions")
    return part


def _product(at: Site) -> None:
    """A 1x1 convolution in the form in which XNNPACK takes over int4 weights: a product at each position."""
    weights = at.graph.constants[at.node.inputs[1]]
    params = at.values.params(at.node.inputs[1])
    matrix = at.values.constant(at.node.inputs[1], weights.reshape(weights.shape[:2]), params)
    at.emit(
        "FULLY_CONNECTED",
        [at.input(0, NHWC), matrix, bias_or_zeros(at, len(weights))],
        at.output(NHWC),
        "FullyConnectedOptions",
        keepNumDims=True,
        fusedActivationFunction=at.activation,
    )


def bias_or_zeros(at: Site, size: int) -> int:
    """The third input, a vector; where it is left out, zeros: kernels and delegates disagree on whether it may be."""
    if at.node.input(2):
        return at.input(2, (0,))
    zeros = np.zeros(size, np.float32)
    params = None
    if at.quantized:
        source, weights = (at.values.params(value) for value in at.node.inputs[:2])
        scale = tuple(float(np.float32(source.scale[0] * number)) for number in weights.scale)
        axis = 0 if len(scale) > 1 else None
        params = QuantParams("int32", scale, (0,) * len(scale), axis)
    return at.values.constant("zero bias", zeros, params)


@emits("ConvTranspose")
def transposed_convolution(at: Site) -> None:
    """ConvTranspose; where TFLite cannot leave out the border, it is made whole and cut out."""
    at.require_rank(4)
    weights = at.constant(1)
    assert weights is not None
    dense, params = _dense(at, weights)
    dilated = _dilated(dense, at.node.ints("dilations", (1, 1)))
    out_channels, kernel = dilated.shape[1], dilated.shape[2:]
    strides = at.node.ints("strides", (1, 1))
    pads = _transposed_pads(at, kernel, strides)
    same = all(
        (size, before) == (-(-out // stride), same_pads(out, taps, stride)[0])
        for size, out, taps, stride, (before, _) in zip(
            at.shape()[2:], at.output_shape[2:], kernel, strides, pads, strict=True
        )
    )
    cut = not same and any(before or after > 0 for before, after in pads)
    height, width = (
        out + (before + max(after, 0) if cut else 0)
        for out, (before, after) in zip(at.output_shape[2:], pads, strict=True)
    )
    target = at.output(NHWC)
    whole = at.temporary((1, height, width, out_channels), "whole", like=target) if cut else target
    inputs = [
        at.integers((1, height, width, out_channels), "shape"),
        at.values.constant(at.node.inputs[1], dilated, params, _1HWO),
        at.input(0, NHWC),
        bias_or_zeros(at, out_channels),
    ]
    at.emit(
        "TRANSPOSE_CONV",
        inputs,
        whole,
        "TransposeConvOptions",
        padding=SAME if same else VALID,
        strideH=strides[0],
        strideW=strides[1],
    )
    if cut:
        (top, _), (left, _) = pads
        begin, size = (
            at.integers((0, top, left, 0), "begin"),
            at.integers(at.values.writer.tensors[target].shape, "size"),
        )
        at.emit("SLICE", [whole, begin, size], target, "SliceOptions")


def _dense(at: Site, weights: Array) -> tuple[Array, QuantParams | None]:
    """Weights (in, out, height, width) of one group that does what all groups do: zeros between them."""
    groups = at.node.int("group", 1)
    params = at.values.plan.tensors.get(at.node.inputs[1])
    if params is not None and not at.quantized:
        weights, params = params.dequantize(params.quantize(weights)), None
    if groups == 1:
        return weights, params
    inputs, outputs = weights.shape[0] // groups, weights.shape[1]
    dense = np.zeros((weights.shape[0], outputs * groups, *weights.shape[2:]), weights.dtype)
    for group in range(groups):
        rows, columns = slice(group * inputs, (group + 1) * inputs), slice(group * outputs, (group + 1) * outputs)
        dense[rows, columns] = weights[rows]
    if params is not None and params.axis == 1:
        params = replace(params, scale=params.scale * groups, zero_point=params.zero_point * groups)
    return dense, params


def _dilated(weights: Array, dilations: tuple[int, ...]) -> Array:
    """Weights with zeros between their taps."""
    if set(dilations) == {1}:
        return weights
    sizes = [(taps - 1) * dilation + 1 for taps, dilation in zip(weights.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weights.shape[:2], *sizes), weights.dtype)
    spread[:, :, :: dilations[0], :: dilations[1]] = weights
    return spread


def _transposed_pads(at: Site, kernel: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """What is cut off the whole output before and after; after is negative where the output goes on beyond it."""
    mode = at.node.str("auto_pad", "NOTSET")
    stated = at.node.ints("pads", (0, 0, 0, 0))
    pads = []
    for axis in range(2):
        whole = strides[axis] * (at.shape()[2 + axis] - 1) + kernel[axis]
        total = whole - at.output_shape[2 + axis]
        if mode == "NOTSET" and "output_shape" not in at.node.attributes:
            before = stated[axis]
        else:
            before = max(total, 0) // 2 if mode == "SAME_UPPER" else max(total, 0) - max(total, 0) // 2
        pads.append((before, total - before))
    return pads
