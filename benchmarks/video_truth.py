"""What `run` found in a composed video, held against what is true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.composed_videos import Composition
from edgefer.faces.face import Face, overlap
from edgefer.faces.follow import REMEMBERED_S
from edgefer.spec import Spec
from edgefer.timeline.events import Event
from edgefer.timeline.observed import Observed
from edgefer.timeline.smoothing import Smoothing
from edgefer.timeline.timeline import FaceLine, events, face_lines

SAME_PLACE = 0.2
"""Overlap from which on a box is of an actor: detectors' boxes are smaller than the stills."""
SAME_EVENT = 0.5


@dataclass(frozen=True)
class Following:
    """How faces were followed.

    Attributes:
        seen: share of the frames on which an actor is there, with its face known, also where it was bridged.
        switches: how often an actor's identity changed though it was seen not longer than `REMEMBERED_S` before.
        returns: how often it did after a longer absence, as it is meant to.
        actors: by face, whose it mostly is.
    """

    seen: float
    switches: int
    returns: int
    actors: dict[int, int]


@dataclass(frozen=True)
class Score:
    """Events, found ones and true ones; `pairs` are of the same actor and label, and share half of their union."""

    pairs: tuple[tuple[Event, Event], ...]
    found: int
    true: int

    @property
    def delays(self) -> list[float]:
        """Seconds by which onsets were found late."""
        return [found.onset_s - true.onset_s for found, true in self.pairs]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * len(self.pairs) / max(self.found + self.true, 1)

    def __add__(self, other: Score) -> Score:
        return Score(self.pairs + other.pairs, self.found + other.found, self.true + other.true)


def following(composition: Composition, lines: Sequence[FaceLine]) -> Following:
    """Hold faces against actors, frame by frame."""
    boxes: dict[int, list[tuple[int, Face]]] = {}
    for line in lines:
        for frame, box in zip(line.frames, line.boxes, strict=True):
            boxes.setdefault(int(frame), []).append((line.track.face, Face(*map(float, box))))
    latest: dict[int, tuple[int, float]] = {}
    votes: dict[int, Counter[int]] = {}
    there = seen = switches = returns = 0
    for frame, actor, place in composition.boxes():
        there += 1
        face, similar = max(
            ((face, overlap(box, place)) for face, box in boxes.get(frame, [])),
            key=lambda each: each[1],
            default=(0, 0.0),
        )
        if similar < SAME_PLACE:
            continue
        seen += 1
        votes.setdefault(face, Counter())[actor] += 1
        time_s = frame / composition.fps
        before, last_s = latest.get(actor, (face, time_s))
        switches += before != face and time_s - last_s <= REMEMBERED_S
        returns += before != face and time_s - last_s > REMEMBERED_S
        latest[actor] = (face, time_s)
    whose = {face: counts.most_common(1)[0][0] for face, counts in votes.items()}
    return Following(seen / max(there, 1), switches, returns, whose)


def score(composition: Composition, observed: Observed, spec: Spec, smoothing: Smoothing, rest: str) -> Score:
    """Events with a smoothing, held against the true ones."""
    lines = list(face_lines(observed, spec, smoothing))
    actors = following(composition, lines).actors
    found = [event for event in events(observed, spec, lines) if event.label != rest]
    true = composition.events(rest)
    possible = sorted(
        ((_shared(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(true) if _alike(a, b, actors)),
        reverse=True,
    )
    pairs: dict[int, int] = {}
    for shared, i, j in possible:
        if shared >= SAME_EVENT and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return Score(tuple((found[i], true[j]) for i, j in pairs.items()), len(found), len(true))


def _alike(found: Event, true: Event, actors: dict[int, int]) -> bool:
    return found.label == true.label and actors.get(found.face) == true.face


def _shared(first: Event, second: Event) -> float:
    """Intersection over union of two times."""
    both = min(first.offset_s, second.offset_s) - max(first.onset_s, second.onset_s)
    either = max(first.offset_s, second.offset_s) - min(first.onset_s, second.onset_s)
    return max(both, 0.0) / max(either, 1e-9)
