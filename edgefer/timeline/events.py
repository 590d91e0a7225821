"""When something shows in a face: stretches in which a smoothed score is high, with onset, peak and offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgefer.timeline.observed import Floats

RELEASE = 0.8
"""An event ends where its score falls below this share of the threshold that began it."""
SHORTEST_S = 0.2
"""Events that last shorter are none."""


@dataclass(frozen=True)
class Event:
    """Something that showed in a face for a while.

    Attributes:
        source: name of the source.
        face: number of the face.
        label: what showed.
        onset_s: when its score rose above the threshold, between frames by the line through them.
        peak_s: when it was highest.
        offset_s: when it had fallen again, or was no more seen.
        peak: its highest smoothed score.
    """

    source: str
    face: int
    label: str
    onset_s: float
    peak_s: float
    offset_s: float
    peak: float


def find_events(times: Floats, scores: Floats, threshold: float) -> Iterator[tuple[float, float, float, float]]:
    """Onset, peak's time, offset and peak of each event in one score.

    Args:
        times: seconds, rising, (n,).
        scores: smoothed, (n,); NaN where nothing is known, which ends an event.
        threshold: from which score on it shows.
    """
    start: int | None = None
    for index in range(len(times) + 1):
        score = scores[index] if index < len(times) else np.nan
        if start is None:
            if score >= threshold:
                start = index
        elif not score >= threshold * RELEASE:
            yield from _event(times, scores, start, index, threshold)
            start = None


def _event(
    times: Floats, scores: Floats, start: int, stop: int, threshold: float
) -> Iterator[tuple[float, float, float, float]]:
    onset = _crossing(times, scores, start - 1, start, threshold)
    offset = _crossing(times, scores, stop, stop - 1, threshold * RELEASE)
    peak = start + int(np.argmax(scores[start:stop]))
    if offset - onset >= SHORTEST_S:
        yield onset, float(times[peak]), offset, float(scores[peak])


def _crossing(times: Floats, scores: Floats, outside: int, inside: int, level: float) -> float:
    """When the line from outside to inside of an event crosses a level; the inside where there is no outside."""
    if not 0 <= outside < len(times) or np.isnan(scores[outside]):
        return float(times[inside])
    share = (level - scores[outside]) / (scores[inside] - scores[outside])
    return float(times[outside] + share * (times[inside] - times[outside]))
