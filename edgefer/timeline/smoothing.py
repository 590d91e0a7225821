"""Scores smoothed over time, whatever the frames' times are: means of the line through what was measured.

Published ablations at 30 frames per second found +-1.7 s best for expressions, valence and arousal, and +-0.1 s for
action units, which get worse when it is wider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from edgefer.spec import Kind
from edgefer.timeline.observed import Floats, Ints

Mode: TypeAlias = Literal["centred", "causal"]

WIDE_S = 1.7
NARROW_S = 0.1
GAP_S = 0.5
"""Longest time for which a face may be out of sight and be taken to look as before and after."""

_INSTANT_S = 1e-9


@dataclass(frozen=True)
class Smoothing:
    """How scores are smoothed.

    Attributes:
        mode: `centred` looks as far ahead as back; `causal` looks back alone, twice as far, and so lags.
        half_s: by kind of head, half the width of the mean, in seconds.
        gap_s: longest time for which a face may be out of sight and be taken to look as before and after.
    """

    mode: Mode = "centred"
    half_s: Mapping[Kind, float] = field(default_factory=lambda: {"action_units": NARROW_S})
    gap_s: float = GAP_S

    def half(self, kind: Kind) -> float:
        """Half the width for heads of a kind."""
        return self.half_s.get(kind, WIDE_S)

    def lag(self, kind: Kind) -> float:
        """By how much a step in a score comes late, in seconds."""
        return self.half(kind) if self.mode == "causal" else 0.0


def smoothed(times: Floats, values: Floats, asked: Floats, half_s: float, mode: Mode) -> Floats:
    """Mean, around each time that is asked for, of the line through the measurements.

    Before the first and after the last measurement the line goes on level, and counts for nothing.  Where it does not
    look ahead, it ends at the last measurement that was there by then.

    Args:
        times: of the measurements, seconds, rising, (m,), m > 0.
        values: (m, columns).
        asked: seconds, (n,).
        half_s: half the width of the mean.
        mode: whether it looks ahead.

    Returns:
        (n, columns).
    """
    if mode == "centred":
        low, high, here = asked - half_s, asked + half_s, asked
    else:
        here = times[np.maximum(np.searchsorted(times, asked + _INSTANT_S, side="right") - 1, 0)]
        low, high = np.minimum(asked - 2 * half_s, here), here
    low, high = np.clip(low, times[0], times[-1]), np.clip(high, times[0], times[-1])
    width = (high - low)[:, np.newaxis]
    area = _integral(times, values, high) - _integral(times, values, low)
    return np.where(width > _INSTANT_S, area / np.maximum(width, _INSTANT_S), interpolated(times, values, here))


def runs(times: Floats, gap_s: float) -> list[tuple[int, int]]:
    """Where times follow each other by at most `gap_s`: first index, and past the last."""
    breaks: Ints = np.flatnonzero(np.diff(times) > gap_s + _INSTANT_S) + 1
    return [(start, stop) for start, stop in pairwise((0, *map(int, breaks), len(times))) if stop > start]


def interpolated(times: Floats, values: Floats, asked: Floats) -> Floats:
    """The line through the measurements at the times asked for, (n, columns)."""
    return np.stack([np.interp(asked, times, column) for column in values.T], axis=1)


def _integral(times: Floats, values: Floats, until: Floats) -> Floats:
    """Area under the line from its first time on, (n, columns)."""
    if len(times) == 1:
        return np.zeros((len(until), values.shape[1]))
    steps = np.diff(times)[:, np.newaxis]
    areas = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum((values[1:] + values[:-1]) / 2 * steps, axis=0)])
    left = np.clip(np.searchsorted(times, until, side="right") - 1, 0, len(times) - 2)
    into = (until - times[left])[:, np.newaxis]
    slope = (values[left + 1] - values[left]) / steps[left]
    return areas[left] + values[left] * into + slope * into**2 / 2
