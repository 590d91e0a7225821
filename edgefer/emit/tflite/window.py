"""Sliding windows: how ONNX's explicit pads are said in TFLite's SAME and VALID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.site import Site
from edgefer.graph.ir import Array
from edgefer.graph.passes.resolve_padding import same_pads

SAME = int(schema.Padding.SAME)
VALID = int(schema.Padding.VALID)


@dataclass(frozen=True)
class Axis:
    """A window sliding along one spatial axis.

    Attributes:
        size: elements of the input.
        outputs: elements of the output.
        kernel: taps of the window.
        stride: step of the window.
        dilation: step between taps.
        before: padding in front.
        after: padding behind, as declared.
    """

    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reached(self) -> int:
        """Padding behind that windows really touch: less than declared, or more with `ceil_mode`."""
        last = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return max(last - self.size - self.before, 0)

    @property
    def is_valid(self) -> bool:
        """Whether no window touches padding."""
        return self.before == 0 and self.reached == 0

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME places the windows alike."""
        before, _ = same_pads(self.size, self.kernel, self.stride, self.dilation)
        return self.outputs == -(-self.size // self.stride) and self.before == before

    def taps_within(self, first: int, past_last: int) -> Array:
        """For each output, how many taps fall on input positions from `first` to before `past_last`."""
        starts = np.arange(self.outputs)[:, None] * self.stride - self.before
        positions = starts + np.arange(self.kernel)[None, :] * self.dilation
        return np.asarray(np.sum((positions >= first) & (positions < past_last), axis=1))


@dataclass(frozen=True)
class Window:
    """A window over height and width."""

    height: Axis
    width: Axis

    @property
    def padding(self) -> int | None:
        """SAME or VALID; None when the input must be padded by an operator of its own."""
        axes = (self.height, self.width)
        if all(axis.is_valid for axis in axes):
            return VALID
        return SAME if all(axis.is_same for axis in axes) else None

    @property
    def amounts(self) -> tuple[tuple[int, int], ...]:
        """The padding that makes the window VALID, per NHWC axis, before and after."""
        return ((0, 0), *((axis.before, axis.reached) for axis in (self.height, self.width)), (0, 0))


def window(at: Site, kernel: Sequence[int]) -> Window:
    """The window of an NCHW operator with a kernel of `kernel` taps."""
    sizes, outputs = at.shape()[2:], at.output_shape[2:]
    strides, dilations = at.node.ints("strides", (1, 1)), at.node.ints("dilations", (1, 1))
    if at.node.str("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise at.unsupported(f"auto_pad={at.node.str('auto_pad')}")
    top, left, bottom, right = at.node.ints("pads", (0, 0, 0, 0))
    if min(top, left, bottom, right) < 0:
        raise at.unsupported("negative pads")
    height, width = (
        Axis(*axis)
        for axis in zip(sizes, outputs, kernel, strides, dilations, (top, left), (bottom, right), strict=True)
    )
    return Window(height, width)


def padded(at: Site, tensor: int, amounts: Sequence[tuple[int, int]], fill: float | None = None) -> int:
    """`tensor` with `amounts` added before and after each axis: zeros, or `fill` where given."""
    source = at.values.writer.tensors[tensor]
    shape = [size + before + after for size, (before, after) in zip(source.shape, amounts, strict=True)]
    result = at.temporary(shape, "padded", like=tensor)
    pad_into(at, tensor, amounts, result, fill)
    return result


def pad_into(at: Site, tensor: int, amounts: Sequence[tuple[int, int]], result: int, fill: float | None = None) -> None:
    """Fill `result` with the padded `tensor`.

    `fill` is a real number, stored as near to it as the tensor's format can.
    """
    table = at.values.constant("paddings", np.asarray(amounts, np.int32))
    if fill is None:
        at.emit("PAD", [tensor, table], result, "PadOptions")
        return
    with_zeros = at.temporary(at.values.writer.tensors[result].shape, "padded with zeros", like=tensor)
    at.emit("PAD", [tensor, table], with_zeros, "PadOptions")
    at.emit("ADD", [with_zeros, _borders(at, tensor, amounts, fill)], result, "AddOptions")


def _borders(at: Site, tensor: int, amounts: Sequence[tuple[int, int]], fill: float) -> int:
    """A constant that makes zeros of a border into `fill`: delegates pad with nothing else."""
    shape = at.values.writer.tensors[tensor].shape
    inner = [size if any(pair) else 1 for size, pair in zip(shape, amounts, strict=True)]
    return _numbers(at, "borders", np.pad(np.zeros(inner), amounts, constant_values=fill), tensor)


def scalar(at: Site, number: float, like: int) -> int:
    """A constant of one number in the format of tensor `like`, saturated where it does not reach."""
    return _numbers(at, "number", np.asarray(number), like)


def _numbers(at: Site, name: str, values: Array, like: int) -> int:
    source = at.values.writer.tensors[like]
    if source.is_integer:
        data = values.astype(source.dtype)
    elif source.scales is None:
        data = np.clip(values, *_FLOAT_LIMITS).astype(np.float32)
    else:
        stored = np.rint(values / source.scales.scale[0]) + source.scales.zero_point[0]
        data = np.clip(stored, -128, 127).astype(np.int8)
    return at.values.writer.tensor(name, data.shape, source.dtype, source.scales, data)


_FLOAT_LIMITS = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
