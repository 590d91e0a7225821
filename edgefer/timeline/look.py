"""Looks at a source: frames, the faces on them, followed, cut out, judged by quality, and shown to the network."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from edgefer.errors import InputError
from edgefer.faces.crop import cut_out
from edgefer.faces.face import Detector, Face
from edgefer.faces.follow import Follower
from edgefer.faces.quality import FLAGS, Quality, judge_quality
from edgefer.host.progress import Advance
from edgefer.images.preprocess import to_pixels
from edgefer.spec import CropSpec, Spec
from edgefer.timeline.asking import Answers, Asked, Asking
from edgefer.timeline.live import Live
from edgefer.timeline.observed import NOT_INFERRED, Floats, Observed, Track
from edgefer.timeline.smoothing import Smoothing
from edgefer.video.frames import Source

FLEETING_S = 0.12
"""A face that is seen for a shorter time is a mistake of the detector, or a glimpse that says nothing."""


@dataclass(frozen=True)
class Looking:
    """What a thread needs to look at sources.

    Attributes:
        detector: finds faces.
        asking: makes what decides, for each face, when the network is asked.
        spec: of the network.
        detect_every: on every so many frames; optical flow carries boxes on between.
        most_faces: so many of the largest are followed, None for all.
        smoothing: of what is told as it comes; it looks back alone, whatever its mode.
    """

    detector: Detector
    asking: Callable[[], Asking]
    spec: Spec
    detect_every: int = 1
    most_faces: int | None = None
    smoothing: Smoothing = field(default_factory=Smoothing)


@dataclass(frozen=True, eq=False)
class Told:
    """A face in a frame, as soon as it was looked at.

    Attributes:
        source: name of the source.
        face: its number; faces that turn out to be a glimpse count here, and not in tables.
        frame: index of the frame.
        time_s: of the frame.
        box: where the face is.
        answers: of the network by head, None where it was not asked, or not yet.
        smooth: scores smoothed by what is known by then, of all heads one after the other; None where nothing is.
    """

    source: str
    face: int
    frame: int
    time_s: float
    box: Face
    answers: Answers | None
    smooth: Floats | None


class _Seen:
    """A face while it is followed: numbers alone, as an hour has a hundred thousand frames."""

    def __init__(self, asking: Asking, spec: Spec) -> None:
        self.asking = asking
        self._live: Live | None = None
        self.frames, self.flags, self.levels = array("q"), array("q"), array("q")
        self.boxes, self.scores, self.sharpness, self.brightness = (array("d") for _ in range(4))
        self._columns = {output.name: len(output.labels) for output in spec.outputs}
        self._heads = {name: array("d") for name in self._columns}

    def add(self, frame: int, face: Face, quality: Quality) -> None:
        """Note where it is; the network is not asked yet."""
        self.frames.append(frame)
        self.boxes.extend((face.x, face.y, face.width, face.height))
        self.scores.append(face.score)
        self.sharpness.append(quality.sharpness)
        self.brightness.append(quality.brightness)
        self.flags.append(_bits(quality))
        self.levels.append(NOT_INFERRED)
        for name, count in self._columns.items():
            self._heads[name].extend([nan] * count)

    def live(self, looking: Looking) -> Live:
        """What follows it in time, where answers are told as they come."""
        if self._live is None:
            self._live = Live(self.asking, looking.spec.outputs, looking.smoothing)
        return self._live

    def take(self, answers: Iterable[Asked]) -> None:
        """Note what the network said of frames that were added."""
        for asked in answers:
            place = bisect_left(self.frames, asked.frame)
            self.levels[place] = asked.level
            for name, count in self._columns.items():
                self._heads[name][place * count : (place + 1) * count] = array("d", map(float, asked.answers[name]))

    def track(self, number: int) -> Track:
        """All of it."""
        heads = {name: np.array(self._heads[name]).reshape(-1, count) for name, count in self._columns.items()}
        return Track(
            number,
            np.array(self.frames, np.int64),
            np.array(self.boxes).reshape(-1, 4),
            np.array(self.scores),
            np.array(self.sharpness),
            np.array(self.brightness),
            np.array(self.flags, np.int64),
            np.array(self.levels, np.int64),
            heads,
        )


def look(
    source: Source,
    looking: Looking,
    advance: Advance = lambda: None,
    tell: Callable[[Told], None] | None = None,
) -> Observed:
    """All frames of a source.

    Args:
        source: where they come from.
        looking: how.
        advance: called once per frame.
        tell: told of each face in each frame as it comes.

    Raises:
        InputError: the source cannot be read.
    """
    crop = looking.spec.input.crop or CropSpec()
    follower = Follower()
    seen: dict[int, _Seen] = {}
    times = array("d")
    size = (0, 0)
    calls = 0
    for frame in source.frames():
        times.append(frame.time_s)
        size = (frame.image.shape[1], frame.image.shape[0])
        if frame.index % looking.detect_every == 0:
            calls += 1
            faces = follower.found(looking.detector(frame.image, source.name, frame.index), frame.time_s)
            if looking.detect_every > 1:
                follower.see(frame.image)
        else:
            faces = follower.carried(frame.image, frame.time_s)
        for identity, face in faces[: looking.most_faces]:
            if identity not in seen:
                seen[identity] = _Seen(looking.asking(), looking.spec)
            track = seen[identity]
            cutout = cut_out(frame.image, face, crop)
            track.add(frame.index, face, judge_quality(frame.image, face, cutout))
            pixels = to_pixels(cutout, looking.spec.input)
            if tell is None:
                track.take(track.asking.see(frame.index, frame.time_s, pixels))
                continue
            moment = track.live(looking).see(frame.index, frame.time_s, pixels)
            track.take(moment.asked)
            answers = next((asked.answers for asked in moment.asked if asked.frame == frame.index), None)
            tell(Told(source.name, identity, frame.index, frame.time_s, face, answers, moment.smooth))
        advance()
    if not times:
        raise InputError(f"{source.name}: holds no frames")
    for track in seen.values():
        track.take(track.asking.finish())
    lasting = list(_lasting(seen, times))
    tracks = tuple(track.track(number) for number, track in enumerate(lasting, 1))
    return Observed(source.name, source.digest, np.array(times), size, tracks, calls, len(seen) - len(lasting))


def _lasting(seen: dict[int, _Seen], times: Sequence[float]) -> Iterator[_Seen]:
    step = float(np.median(np.diff(times))) if len(times) > 1 else FLEETING_S
    for _, track in sorted(seen.items()):
        if times[track.frames[-1]] - times[track.frames[0]] + step >= FLEETING_S:
            yield track


def _bits(quality: Quality) -> int:
    return sum(1 << bit for bit, flag in enumerate(FLAGS) if flag in quality.flags)


def flags_of(bits: int) -> tuple[str, ...]:
    """Names of the flags in a track's bits."""
    return tuple(flag for bit, flag in enumerate(FLAGS) if bits >> bit & 1)
