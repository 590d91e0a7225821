"""One face as a camera shows it: frames come in, and out come scores that are smoothed by what was known by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from edgefer.images import Image
from edgefer.spec import OutputSpec
from edgefer.timeline.asking import Asked, Asking
from edgefer.timeline.observed import Floats
from edgefer.timeline.smoothing import Smoothing, runs, smoothed


@dataclass(frozen=True, eq=False)
class Moment:
    """What is known after a frame.

    Attributes:
        asked: what the network was asked since the frame before, of this frame or of earlier ones.
        smooth: of all heads, one after the other, float64 (columns,); None where nothing is known.
    """

    asked: tuple[Asked, ...]
    smooth: Floats | None


class Live:
    """Follows one face in time; the one who tells it of frames has found which face is the same."""

    def __init__(self, asking: Asking, heads: Sequence[OutputSpec], smoothing: Smoothing) -> None:
        """Nothing is known yet.

        Args:
            asking: decides when the network is asked.
            heads: of the network.
            smoothing: its widths and its longest gap; it looks back alone, whatever its mode.
        """
        self._asking, self._heads, self._smoothing = asking, heads, smoothing
        self._begun = self._seen = -inf
        self._widest = 2 * max(smoothing.half(head.kind) for head in heads)
        self._known: dict[float, Floats] = {}

    def see(self, frame: int, time_s: float, pixels: Image | None) -> Moment:
        """Take a frame into account.

        Args:
            frame: its index, counted without gaps.
            time_s: seconds, later than all before.
            pixels: the face at the network's size, None if it is not in the frame.
        """
        if pixels is not None:
            if len(runs(np.array([self._seen, time_s]), self._smoothing.gap_s)) > 1:
                self._begun = time_s
            self._seen = time_s
        asked = tuple(self._asking.see(frame, time_s, pixels))
        for each in asked:
            values = [np.asarray(each.answers[head.name], np.float64) for head in self._heads]
            self._known[each.time_s] = np.concatenate(values)
        self._forget(time_s - self._widest)
        return Moment(asked, self._smooth(time_s))

    def _forget(self, until_s: float) -> None:
        """Keep of what is older only the last, where the line begins that means are taken of."""
        begin = max((time for time in self._known if time <= until_s), default=-inf)
        self._known = {time: values for time, values in self._known.items() if time >= begin}

    def _smooth(self, time_s: float) -> Floats | None:
        """The means at a time, None where the face is out of sight for too long, or nothing is known of it yet."""
        out_of_sight = len(runs(np.array([self._seen, time_s]), self._smoothing.gap_s)) > 1
        times = np.array(sorted(time for time in self._known if time >= self._begun))
        if out_of_sight or not len(times):
            return None
        values = np.stack([self._known[time] for time in times])
        parts, first = [], 0
        for head in self._heads:
            columns = values[:, first : first + len(head.labels)]
            first += len(head.labels)
            half = self._smoothing.half(head.kind)
            parts.append(smoothed(times, columns, np.array([time_s]), half, "causal")[0])
        return np.concatenate(parts)
