"""The timeline of a source: a row for every frame and face, measured or not, with smoothed scores, and the events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from edgefer.spec import OutputSpec, Spec
from edgefer.timeline.events import Event, find_events
from edgefer.timeline.observed import Floats, Ints, Observed, Track
from edgefer.timeline.score_names import columns
from edgefer.timeline.smoothing import Smoothing, interpolated, runs, smoothed

Status: TypeAlias = Literal["measured", "held", "interpolated", "no_face", "low_quality"]


@dataclass(frozen=True, eq=False)
class FaceLine:
    """One face on n consecutive frames of its source, from the first to the last on which it was seen.

    Attributes:
        track: what was measured.
        frames: indices, int64 (n,); frames in gaps that are too long to bridge are left out.
        times: seconds, (n,).
        places: for each frame its place in the track, -1 where the face was not seen.
        boxes: (n, 4), interpolated where it was not seen.
        raw: (n, columns), NaN where the network was not asked.
        smooth: (n, columns), NaN where nothing is known.
    """

    track: Track
    frames: Ints
    times: Floats
    places: Ints
    boxes: Floats
    raw: Floats
    smooth: Floats

    def status(self, index: int) -> Status:
        """Where the scores of a frame come from."""
        place = self.places[index]
        if place < 0:
            return "interpolated"
        if not self.track.inferred[place]:
            return "held"
        return "low_quality" if self.track.flags[place] else "measured"


def face_lines(observed: Observed, spec: Spec, smoothing: Smoothing) -> Iterator[FaceLine]:
    """The faces of a source, in order of appearance."""
    named = columns(spec)
    for track in observed.tracks:
        seen = observed.times[track.frames]
        inside = np.zeros(len(observed.times), bool)
        for start, stop in runs(seen, smoothing.gap_s):
            inside[track.frames[start] : track.frames[stop - 1] + 1] = True
        frames = np.flatnonzero(inside).astype(np.int64)
        times = observed.times[frames]
        places = np.full(len(frames), -1, np.int64)
        places[np.searchsorted(frames, track.frames)] = np.arange(len(track.frames))
        measured = np.concatenate([track.heads[output.name] for output in spec.outputs], axis=1)
        raw = np.full((len(frames), measured.shape[1]), np.nan)
        raw[places >= 0] = measured[places[places >= 0]]
        smooth = np.concatenate([_smooth(track, seen, head, frames, times, smoothing) for head in spec.outputs], axis=1)
        assert raw.shape[1] == len(named)
        yield FaceLine(track, frames, times, places, interpolated(seen, track.boxes, times), raw, smooth)


def events(observed: Observed, spec: Spec, lines: list[FaceLine]) -> list[Event]:
    """All events of a source, by their onsets."""
    found = [
        Event(observed.source, line.track.face, column.label, *numbers)
        for line in lines
        for index, column in enumerate(columns(spec))
        if column.threshold is not None
        for first, last in _unbroken(line)
        for numbers in find_events(line.times[first:last], line.smooth[first:last, index], column.threshold)
    ]
    return sorted(found, key=lambda event: (event.onset_s, event.face, event.label))


def _smooth(track: Track, seen: Floats, head: OutputSpec, frames: Ints, times: Floats, smoothing: Smoothing) -> Floats:
    """A head's scores on the line's frames; NaN while the face is in sight and the network was never asked."""
    result = np.full((len(times), len(head.labels)), np.nan)
    for start, stop in runs(seen, smoothing.gap_s):
        asked = np.flatnonzero(track.inferred[start:stop]) + start
        if len(asked):
            here = slice(*np.searchsorted(frames, (track.frames[start], track.frames[stop - 1] + 1)))
            scores = track.heads[head.name][asked]
            result[here] = smoothed(seen[asked], scores, times[here], smoothing.half(head.kind), smoothing.mode)
    return result


def _unbroken(line: FaceLine) -> Iterator[tuple[int, int]]:
    """Stretches of frames that follow each other."""
    breaks = np.flatnonzero(np.diff(line.frames) > 1) + 1
    edges = [0, *map(int, breaks), len(line.frames)]
    yield from pairwise(edges)
