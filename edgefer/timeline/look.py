"""Looks at a source: frames, the faces on them, followed, cut out, judged by quality, and shown to the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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
from edgefer.timeline.observed import NOT_INFERRED, Observed, Track
from edgefer.video.frames import Frame, Source

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
    """

    detector: Detector
    asking: Callable[[], Asking]
    spec: Spec
    detect_every: int = 1
    most_faces: int | None = None


@dataclass(eq=False)
class _Seen:
    """A face while it is followed."""

    asking: Asking
    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    asked: dict[int, Asked] = field(default_factory=dict)


def look(
    source: Source,
    looking: Looking,
    advance: Advance = lambda: None,
    tell: Callable[[int, Frame, Face, Answers], None] | None = None,
) -> Observed:
    """All frames of a source.

    Args:
        source: where they come from.
        looking: how.
        advance: called once per frame.
        tell: told of every answer as it comes, of face, frame, box and heads; where frames are asked at once.

    Raises:
        InputError: the source cannot be read.
    """
    crop = looking.spec.input.crop or CropSpec()
    follower = Follower()
    seen: dict[int, _Seen] = {}
    times: list[float] = []
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
            track = seen.setdefault(identity, _Seen(looking.asking()))
            cutout = cut_out(frame.image, face, crop)
            track.frames.append(frame.index)
            track.faces.append(face)
            track.qualities.append(judge_quality(frame.image, face, cutout))
            for asked in track.asking.see(frame.index, frame.time_s, to_pixels(cutout, looking.spec.input)):
                track.asked[asked.frame] = asked
                if tell is not None and asked.frame == frame.index:
                    tell(identity, frame, face, asked.answers)
        advance()
    if not times:
        raise InputError(f"{source.name}: holds no frames")
    for track in seen.values():
        track.asked |= {asked.frame: asked for asked in track.asking.finish()}
    lasting = list(_lasting(seen, times))
    tracks = tuple(_track(number, track, looking.spec) for number, track in enumerate(lasting, 1))
    return Observed(source.name, source.digest, np.array(times), size, tracks, calls, len(seen) - len(lasting))


def _lasting(seen: dict[int, _Seen], times: list[float]) -> Iterator[_Seen]:
    step = float(np.median(np.diff(times))) if len(times) > 1 else FLEETING_S
    for _, track in sorted(seen.items()):
        if times[track.frames[-1]] - times[track.frames[0]] + step >= FLEETING_S:
            yield track


def _track(number: int, seen: _Seen, spec: Spec) -> Track:
    heads = {output.name: np.full((len(seen.frames), len(output.labels)), np.nan) for output in spec.outputs}
    levels = np.full(len(seen.frames), NOT_INFERRED, np.int64)
    for place, frame in enumerate(seen.frames):
        if (asked := seen.asked.get(frame)) is not None:
            levels[place] = asked.level
            for name, values in asked.answers.items():
                heads[name][place] = values
    return Track(
        number,
        np.array(seen.frames, np.int64),
        np.array([(face.x, face.y, face.width, face.height) for face in seen.faces]),
        np.array([face.score for face in seen.faces]),
        np.array([quality.sharpness for quality in seen.qualities]),
        np.array([quality.brightness for quality in seen.qualities]),
        np.array([_bits(quality) for quality in seen.qualities], np.int64),
        levels,
        heads,
    )


def _bits(quality: Quality) -> int:
    return sum(1 << bit for bit, flag in enumerate(FLAGS) if flag in quality.flags)


def flags_of(bits: int) -> tuple[str, ...]:
    """Names of the flags in a track's bits."""
    return tuple(flag for bit, flag in enumerate(FLAGS) if bits >> bit & 1)
