"""Ranges that minimise the mean squared error where it matters: after the function that reads the tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.plan import QuantParams
from edgefer.quantize.scales.histogram import Histogram

Values: TypeAlias = npt.NDArray[np.float64]
View: TypeAlias = Callable[[Values], Values]

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # smaller numbers have fewer digits

_INT8 = np.arange(-128.0, 128)
_COARSE = 2.0 ** (-np.arange(0, 41) / 6)  # down to 1/100 of the range seen
_FINE = 2.0 ** (np.arange(-6, 7) / 48)
_HOPELESS = 8.0  # ranges further on are not tried once the error is so many times the least


def identity(values: Values) -> Values:
    """The view of a tensor that linear operators read."""
    return values


def sigmoid(values: Values) -> Values:
    """Logistic function."""
    return 0.5 * (1 + np.tanh(0.5 * values))


def silu(values: Values) -> Values:
    """SiLU(x) = x * sigmoid(x)."""
    return values * sigmoid(values)


def hard_swish(values: Values) -> Values:
    """HardSwish(x) = x * clip(x + 3, 0, 6) / 6."""
    return values * np.clip(values + 3, 0, 6) / 6


CURVES: Mapping[str, View] = {"HardSwish": hard_swish, "Sigmoid": sigmoid, "Tanh": np.tanh}
"""The functions of operators through which tensors are seen."""


def affine(low: float, high: float) -> QuantParams:
    """Asymmetric int8 parameters for [low, high], widened to hold zero, which is stored exactly."""
    scale, zero_point = _scale_and_zero_point(low, high)
    return QuantParams("int8", (scale,), (zero_point,))


def _scale_and_zero_point(low: float, high: float) -> tuple[float, int]:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(float(np.float32((high - low) / 255)), _SMALLEST_SCALE) if high > low else 1.0
    return scale, min(max(round(-128 - low / scale), -128), 127)


@dataclass(frozen=True)
class Caution:
    """How far ranges allow for values that are larger than most.

    Attributes:
        clipped: how many times values beyond a range count where it is chosen.
        beyond: how many times as far it then reaches.
    """

    clipped: float = 1.0
    beyond: float = 1.0


PLAIN = Caution()


def mse_optimal(histogram: Histogram, view: View = identity, caution: Caution = PLAIN) -> QuantParams:
    """Parameters that minimise E[(view(Q(x)) - view(x))^2] over the histogram.

    Args:
        histogram: of the tensor's values.
        view: the function that reads it.
        caution: for values that are larger than most.
    """
    return mse_optimal_of([(histogram, view)], caution)


def mse_optimal_of(seen: Sequence[tuple[Histogram, View]], caution: Caution = PLAIN) -> QuantParams:
    """The same over several histograms of one tensor, each through a view of its own.

    Both ends of the range are searched in turn, first over a coarse geometric grid, then finely.
    """
    parts = [_Seen(histogram, view, caution.clipped) for histogram, view in seen]

    @cache
    def total(scale: float, zero_point: int) -> float:
        return sum(part.error(scale, zero_point) for part in parts)

    def error(low: float, high: float) -> float:
        return total(*_scale_and_zero_point(low, high))

    lowest = min(0.0, *(histogram.minimum for histogram, _ in seen))
    highest = max(0.0, *(histogram.maximum for histogram, _ in seen))
    low, high = lowest, highest
    for grid in (_COARSE, _COARSE, _FINE, _FINE):
        lows, highs = (lowest * grid, highest * grid) if grid is _COARSE else (low * grid, high * grid)
        high = _least(high, highs, partial(error, low)) if high > 0 else high
        low = _least(low, lows, partial(error, high=high)) if low < 0 else low
    return affine(low * caution.beyond, high * caution.beyond)


def best_zero_point(histogram: Histogram, scale: float) -> QuantParams:
    """Parameters of this scale whose zero point minimises E[(Q(x) - x)^2] over the histogram."""
    seen = _Seen(histogram, identity, 1.0)
    lowest, highest = (round(end / scale) for end in (histogram.minimum, histogram.maximum))
    ends = sorted(min(max(point, -128), 127) for point in (-128 - lowest, 127 - highest))
    zero_point = min(range(ends[0], ends[1] + 1), key=lambda point: (seen.error(scale, point), abs(point)))
    return QuantParams("int8", (scale,), (zero_point,))


class _Seen:
    """A histogram through a view, of which values beyond the range count several times."""

    def __init__(self, histogram: Histogram, view: View, clipped: float) -> None:
        self._points, share = histogram.points()
        self._weights = share * histogram.counts.sum()
        self._target = view(self._points)
        self._view = view
        self._clipped = clipped

    def error(self, scale: float, zero_point: int) -> float:
        """The squared error of storing it in int8, summed over all that was counted."""
        wanted = self._points / scale
        np.rint(wanted, out=wanted)
        off = np.minimum(np.maximum(wanted, -128 - zero_point), 127 - zero_point)
        is_clipped = off != wanted if self._clipped != 1 else None
        if self._view is identity:
            off *= scale
        else:
            off += zero_point + 128
            off = self._view(scale * (_INT8 - zero_point))[off.astype(np.intp)]
        off -= self._target
        np.square(off, out=off)
        if is_clipped is not None:
            off[is_clipped] *= self._clipped
        return float(self._weights @ off)


def _least(end: float, others: Values, error: Callable[[float], float]) -> float:
    """The end, or one of the others, with the least error; no more are tried once clipping has made them hopeless."""
    least, before = error(end), np.inf
    for other in map(float, others):
        found = error(other)
        if found < least:
            end, least = other, found
        elif before < found > _HOPELESS * least:
            break
        before = found
    return end


def per_channel_symmetric(weights: npt.NDArray[np.float32], axis: int, floor: Values) -> QuantParams:
    """Symmetric int8 parameters in [-127, 127] with a scale for each index along `axis`, at least `floor`."""
    others = tuple(index for index in range(weights.ndim) if index != axis)
    largest = np.abs(weights).max(axis=others).astype(np.float64)
    scale = np.maximum(np.maximum(largest / 127, floor), max(float(largest.max()), 1e-6) * 1e-6 / 127)
    return QuantParams("int8", tuple(float(s) for s in scale.astype(np.float32)), (0,) * len(scale), axis, narrow=True)
