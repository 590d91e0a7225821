"""Windows with gaps, and in three dimensions, in terms of slices; powers of windows in terms of sums."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_LOWEST = float(np.finfo(np.float32).min)


@decomposes("AveragePool", "MaxPool")
def single(at: Formula) -> Term | None:
    """Windows of one element: what lies at every step."""
    x, rank = at.input(0), len(at.node.ints("kernel_shape"))
    is_single = set(at.node.ints("kernel_shape")) == {1} and not any(at.node.ints("pads")) and not at.wants(1)
    if not is_single or "auto_pad" in at.node.attributes:
        return None
    for axis in range(rank):
        starts = _starts(at, x.shape, axis)
        x = _every(x, 2 + axis, 0, len(starts), starts.step) if starts.step > 1 else x
    return x


@decomposes("MaxPool")
def largest(at: Formula) -> Term | None:
    """The largest along one axis, and of those along the next, where LiteRT has no kernel."""
    x, rank = at.input(0), len(at.node.ints("kernel_shape"))
    has_gaps = set(at.node.ints("dilations", (1,))) != {1}
    if (rank != 3 and not (has_gaps and rank == 2)) or "auto_pad" in at.node.attributes or at.wants(1):
        return None
    x = _padded(x, at.node.ints("pads", (0,) * 2 * rank), _LOWEST)
    for axis in range(rank):
        x = reduce(lambda a, b: a.to("Max", b), _taps(at, x, axis))
    return x


@decomposes("AveragePool")
def mean(at: Formula) -> Term | None:
    """Sums along one axis after the other, divided by how many elements of the map each window holds."""
    x, kernel = at.input(0), at.node.ints("kernel_shape")
    rank = len(kernel)
    if rank != 3 or "auto_pad" in at.node.attributes:
        return None
    pads = at.node.ints("pads", (0,) * 2 * rank)
    counts = np.ones(())
    size, padded = x.shape, _padded(x, pads, 0.0)
    for axis in range(rank):
        inside = np.ones(size[2 + axis]) if not at.node.int("count_include_pad") else np.ones(padded.shape[2 + axis])
        if not at.node.int("count_include_pad"):
            inside = np.pad(inside, (pads[axis], pads[rank + axis]))
        windows = _starts(at, padded.shape, axis)
        counts = np.multiply.outer(counts, [inside[start : start + kernel[axis]].sum() for start in windows])
    for axis in range(rank):
        padded = reduce(lambda a, b: a + b, _taps(at, padded, axis))
    return padded * (1 / counts).astype(np.float32)[np.newaxis, np.newaxis]


@decomposes("LpPool")
def norm(at: Formula) -> Term | None:
    """The root of a sum of powers, which is a convolution of each channel with ones."""
    x, kernel, p = at.input(0), at.node.ints("kernel_shape"), at.node.int("p", 2)
    if len(kernel) < 2 or "auto_pad" in at.node.attributes:
        return None
    channels = x.shape[1]
    how = {key: value for key, value in at.node.attributes.items() if key not in ("p", "ceil_mode")}
    powers = x * x if p == 2 else x.to("Abs").to("Pow", float(p))
    sums = powers.to("Conv", np.ones((channels, 1, *kernel), np.float32), group=channels, **how)
    return sums.to("Sqrt") if p == 2 else sums.to("Pow", 1 / p)


@decomposes("Conv")
def in_three_dimensions(at: Formula) -> Term | None:
    """Slices of depth as a batch of maps: a convolution for each tap in depth, and their sum."""
    x = at.input(0)
    weights = at.constant(1)
    if len(x.shape) != 5 or x.shape[0] != 1 or weights is None or "auto_pad" in at.node.attributes:
        return None
    strides, gaps = (at.node.ints(key, (1, 1, 1)) for key in ("strides", "dilations"))
    pads = at.node.ints("pads", (0,) * 6)
    _, made, depth, height, width = at.info(at.node.output).shape
    _, channels, _, *size = x.shape
    x = _padded(x, (pads[0], 0, 0, pads[3], 0, 0), 0.0)
    maps = x.transposed(0, 2, 1, 3, 4).reshaped(x.shape[2], channels, *size)
    total = None
    for tap in range(weights.shape[2]):
        bias = at.input(2) if tap == 0 and at.has_input(2) else None
        product = _every(maps, 0, tap * gaps[0], depth, strides[0]).to(
            "Conv",
            weights[:, :, tap],
            bias,
            strides=strides[1:],
            dilations=gaps[1:],
            pads=(pads[1], pads[2], pads[4], pads[5]),
            group=at.node.int("group", 1),
        )
        total = product if total is None else total + product
    assert total is not None
    whole = total.reshaped(1, depth, made, height, width).transposed(0, 2, 1, 3, 4)
    return whole.to(at.node.activation) if at.node.activation == "Relu" else None if at.node.activation else whole


def _padded(x: Term, pads: Sequence[int], fill: float) -> Term:
    half = len(pads) // 2
    if not any(pads):
        return x
    return x.to("Pad", x.at.integers(0, 0, *pads[:half], 0, 0, *pads[half:]), np.asarray(fill, np.float32))


def _starts(at: Formula, shape: tuple[int, ...], axis: int) -> range:
    """Where windows begin along an axis of the padded input."""
    rank = len(shape) - 2
    stride = at.node.ints("strides", (1,) * rank)[axis]
    return range(0, at.info(at.node.output).shape[2 + axis] * stride, stride)


def _taps(at: Formula, x: Term, axis: int) -> list[Term]:
    """What each tap of the windows along an axis reads."""
    rank = len(x.shape) - 2
    gap, starts = at.node.ints("dilations", (1,) * rank)[axis], _starts(at, x.shape, axis)
    taps = range(at.node.ints("kernel_shape")[axis])
    return [_every(x, 2 + axis, tap * gap, len(starts), starts.step) for tap in taps]


def _every(x: Term, axis: int, start: int, count: int, step: int) -> Term:
    stop = start + (count - 1) * step + 1
    return x.to("Slice", *(x.at.integers(number) for number in (start, stop, axis, step)))
