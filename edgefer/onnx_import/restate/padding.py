"""Pad: pads of all axes, as an input; what is taken off, or wraps around, by Slice and Concat."""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@restates("Pad", 2)
def pad_by_attributes(call: Call) -> None:
    """Pads and value were attributes."""
    value = call.node.float("value")
    _pad(call, np.asarray(call.node.ints("pads")), call.scalar("value", value) if value else "")


@restates("Pad", 11, 13, 18, 19, 21, 23, 24, 25)
def pad(call: Call) -> None:
    """Since opset 18 of some `axes` only."""
    rank = len(call.shape())
    pads = call.known(1, "widths")
    if call.node.input(3):
        axes = call.known(3, "axes") % rank
        full = np.zeros(2 * rank, np.int64)
        full[axes], full[axes + rank] = pads[: len(axes)], pads[len(axes) :]
        pads = full
    _pad(call, pads, call.node.input(2))


def _pad(call: Call, pads: Array, value: str) -> None:
    x, shape, mode = call.node.inputs[0], call.shape(), call.node.str("mode", "constant")
    before, after = np.asarray(pads, np.int64).reshape(2, len(shape))
    if mode == "wrap":
        for axis in np.flatnonzero((before != 0) | (after != 0)):
            x = _wrapped(call, x, int(axis), int(before[axis]), int(after[axis]))
        call.end("Identity", x)
        return
    off = np.minimum([before, after], 0)
    if off.any() and (mode == "constant" or not np.any(np.maximum([before, after], 0))):
        x = _slice(call, x, -off[0], np.asarray(shape) + off[1])
        before, after = np.maximum([before, after], 0)
    widths = call.number("pads", np.concatenate([before, after]))
    call.end("Pad", x, widths, value, **({} if mode == "constant" else {"mode": mode}))


def _wrapped(call: Call, x: str, axis: int, before: int, after: int) -> str:
    size = call.shape()[axis]
    if min(before, after) < 0 or max(before, after) > size:
        raise call.unsupported("Pad that wraps around more than once, or takes off")
    parts = [
        *([_slice(call, x, [size - before], [size], [axis])] if before else []),
        x,
        *([_slice(call, x, [0], [after], [axis])] if after else []),
    ]
    return call.add("Concat", *parts, axis=axis)


def _slice(call: Call, x: str, starts: object, ends: object, axes: object = None) -> str:
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    axes = np.arange(len(starts)) if axes is None else np.asarray(axes, np.int64)
    return call.add("Slice", x, *(call.number("slice", bounds) for bounds in (starts, ends, axes)))
