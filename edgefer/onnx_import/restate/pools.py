"""Pools: how many windows there are, said by pads alone; averages over windows with gaps, which opset 18 has not.

Rounding up lets the last window reach beyond the declared padding, and a window that would begin in it is dropped:
which onnx's inference forgets at opset 18, LiteRT does not know, and ONNX Runtime's int8 average gets wrong, where
padding is counted and what is beyond it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from edgefer.graph.ir import Array
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@dataclass(frozen=True)
class _Axis:
    """Windows along one axis."""

    size: int
    taps: int
    gap: int
    stride: int
    before: int
    after: int
    rounds_up: bool

    @property
    def reach(self) -> int:
        """From the first tap of a window to its last."""
        return (self.taps - 1) * self.gap + 1

    @property
    def windows(self) -> int:
        """As many as begin before the padding behind."""
        steps = self.size + self.before + self.after - self.reach
        if not self.rounds_up:
            return steps // self.stride + 1
        count = -(-steps // self.stride) + 1
        return count - 1 if (count - 1) * self.stride >= self.size + self.before else count

    @property
    def needed(self) -> int:
        """Padding behind, so that rounding down gives as many."""
        return max(self.after, (self.windows - 1) * self.stride + self.reach - self.size - self.before)

    def counts(self, with_padding: bool) -> Array:
        """How many numbers each window holds, padding that is declared included or not."""
        reads = np.arange(self.windows)[:, None] * self.stride + np.arange(self.taps) * self.gap - self.before
        first, past = (-self.before, self.size + self.after) if with_padding else (0, self.size)
        return np.asarray(((reads >= first) & (reads < past)).sum(1), np.float32)


@restates("LpPool", 2, 11, 18, 22)
@restates("MaxPool", 1, 8, 10, 11, 12, 22)
def pool(call: Call) -> None:
    """Number of windows by pads alone."""
    _pool(call)


@restates("AveragePool", 1, 7, 10, 11, 19, 22)
def average_pool(call: Call) -> None:
    """With gaps: a convolution of each channel with ones, divided by how many numbers each window holds."""
    if all(gap == 1 for gap in call.node.ints("dilations")):
        _pool(call.without("dilations"))
        return
    axes = _axes(call)
    if axes is None:
        raise call.unsupported("AveragePool with dilations and auto_pad")
    if call.node.int("count_include_pad") and any(axis.needed != axis.after for axis in axes):
        raise call.unsupported("AveragePool with dilations, ceil_mode and count_include_pad")  # runtimes differ
    channels, kernel = call.shape()[1], call.node.ints("kernel_shape")
    call.require_bounded(max(channels * prod(kernel), *(prod(kernel) * axis.windows for axis in axes)))
    call.require_bounded(prod(axis.windows for axis in axes))
    sums = call.add(
        "Conv",
        call.node.inputs[0],
        call.number("ones", np.ones((channels, 1, *kernel), np.float32)),
        kernel_shape=kernel,
        strides=tuple(axis.stride for axis in axes),
        dilations=tuple(axis.gap for axis in axes),
        pads=(*(axis.before for axis in axes), *(axis.needed for axis in axes)),
        group=channels,
    )
    counts = reduce(np.multiply.outer, [axis.counts(bool(call.node.int("count_include_pad"))) for axis in axes])
    call.end("Mul", sums, call.number("shares", np.asarray(1 / counts, np.float32)[None, None]))


def _pool(call: Call) -> None:
    if not call.node.int("ceil_mode"):
        call.end(call.node.op, *call.node.inputs, **call.attributes("ceil_mode"))
        return
    axes = _axes(call)
    if axes is None:
        call.end(call.node.op, *call.node.inputs, **call.attributes("ceil_mode"))
        return
    x = call.node.inputs[0]
    attributes = dict(call.attributes("ceil_mode", "auto_pad", "pads", "count_include_pad"))
    before, after = ([getattr(axis, side) for axis in axes] for side in ("before", "after"))
    needed = [axis.needed for axis in axes]
    if call.node.int("count_include_pad"):
        if needed == after:
            attributes["count_include_pad"] = 1
        else:
            x = _padded(call, before, after)
            before, needed = [0] * len(axes), [more - less for more, less in zip(needed, after, strict=True)]
    call.end(call.node.op, x, pads=(*before, *needed), **attributes)


def _axes(call: Call) -> list[_Axis] | None:
    """Windows along each axis; None where `auto_pad` leaves as many as strides fit, however numbers are rounded."""
    mode = call.node.str("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return None
    sizes, kernel = call.shape()[2:], call.node.ints("kernel_shape")
    rank = len(sizes)
    pads = (0,) * 2 * rank if mode == "VALID" else call.node.ints("pads", (0,) * 2 * rank)
    strides, gaps = (call.node.ints(key, (1,) * rank) for key in ("strides", "dilations"))
    if not rank == len(kernel) == len(strides) == len(gaps) == len(pads) / 2:
        raise call.unsupported(f"{call.node.op} of {rank} axes with windows of {len(kernel)}")
    rounds_up = (bool(call.node.int("ceil_mode")),) * rank
    return [*map(_Axis, sizes, kernel, gaps, strides, pads[:rank], pads[rank:], rounds_up)]


def _padded(call: Call, before: Sequence[int], after: Sequence[int]) -> str:
    """The input with zeros around it."""
    if not any((*before, *after)):
        return call.node.inputs[0]
    return call.add("Pad", call.node.inputs[0], call.number("pads", (0, 0, *before, 0, 0, *after)))
