"""What a run finds, as typed values; `Run.to_dict` is `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgefer.timeline.events import Event
from edgefer.timeline.observed import Observed
from edgefer.timeline.timeline import FaceLine

SCHEMA = "edgefer.run/1"


@dataclass(frozen=True)
class FaceSummary:
    """One face of a source.

    Attributes:
        face: its number.
        first_s: when it was first seen.
        last_s: when it was last seen.
        frames: on how many frames it was seen.
        inferred: on how many of these the network was asked.
        low_quality: on how many it showed poorly.
        expressions: share of its time, by expression, where that was the largest smoothed score.
        means: mean smoothed score by column.
    """

    face: int
    first_s: float
    last_s: float
    frames: int
    inferred: int
    low_quality: int
    expressions: Mapping[str, float]
    means: Mapping[str, float]


@dataclass(frozen=True)
class SourceSummary:
    """One source.

    Attributes:
        source: its name.
        sha256: of its content, `""` for a camera.
        frames: how many it has.
        duration_s: from its first frame to its last.
        with_face: frames on which a face was seen, or was out of sight so shortly that its scores are known.
        detector_calls: frames on which the detector ran.
        inferences: how often the network was asked.
        fleeting: faces that were seen too shortly to be any.
        faces: in order of appearance.
    """

    source: str
    sha256: str
    frames: int
    duration_s: float
    with_face: int
    detector_calls: int
    inferences: int
    fleeting: int
    faces: tuple[FaceSummary, ...]


@dataclass(frozen=True, eq=False)
class Timeline:
    """A source's timeline."""

    observed: Observed
    lines: tuple[FaceLine, ...]
    events: tuple[Event, ...]
    summary: SourceSummary


@dataclass(frozen=True)
class Failure:
    """A source that could not be done, why, and what may be done about it."""

    source: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """Sources, looked at.

    Attributes:
        bundle: name, version and hash of the bundle, and the artifact that was run.
        options: detector, smoothing and policy, as they were.
        consent: the note on consent that was given, `""` for none.
        timelines: of the sources that were done, in the order in which they were named.
        failures: the others.
    """

    bundle: Mapping[str, str]
    options: Mapping[str, Any]
    consent: str
    timelines: tuple[Timeline, ...]
    failures: tuple[Failure, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.run/1`."""
        return {
            "schema": SCHEMA,
            "bundle": dict(self.bundle),
            "options": dict(self.options),
            "consent": self.consent,
            "sources": [_plain(timeline) for timeline in self.timelines],
            "failures": [vars(failure) for failure in self.failures],
        }


def _plain(timeline: Timeline) -> dict[str, Any]:
    summary = timeline.summary
    faces = [{**vars(face), "expressions": dict(face.expressions), "means": dict(face.means)} for face in summary.faces]
    return {**vars(summary), "faces": faces, "events": len(timeline.events)}
