"""Evidence: what is known of a bundle's int8 artifacts, from its manifest, its evaluation and its benchmarks.

A baseline is nothing but the evidence of an earlier bundle, so both sides of a comparison are of one type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgefer.evaluation.metrics import Array, Floats, Ints
from edgefer.gates.measurement import Exact, Measurement, Scored, Timed
from edgefer.gates.scoring import scores
from edgefer.spec import Spec


@dataclass(frozen=True, order=True)
class Place:
    """Where a metric is measured; `""` for what makes no difference to it."""

    format: str
    head: str = ""
    label: str = ""
    device: str = ""
    threads: str = ""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads != '1' else ''}" if self.threads else ""
        return ", ".join(filter(None, (self.format, self.head, self.label, self.device, threads)))


@dataclass(frozen=True)
class Unfit:
    """Something was measured, but it is no evidence."""

    reason: str


@dataclass(frozen=True)
class File:
    """An int8 artifact: its size, and the share of its nodes that XNNPACK takes over, percent, None if unknown."""

    sha256: str
    bytes: int
    delegated: float | None


@dataclass(frozen=True, eq=False)
class Answers:
    """What the models said of images.

    Attributes:
        source: of the images.
        sha256: of names, contents and labels.
        heads: by head, then by `targets`, `reference` and format, as `scoring.scores` takes them.
        sequences: how many images each has, in their order; empty where images are by themselves.
    """

    source: str
    sha256: str
    heads: Mapping[str, Mapping[str, Array]]
    sequences: tuple[int, ...] = ()

    @property
    def groups(self) -> Ints | None:
        """For each image the number of its sequence; None where images are by themselves."""
        return np.repeat(np.arange(len(self.sequences)), self.sequences) if self.sequences else None


@dataclass(frozen=True, eq=False)
class Timing:
    """One artifact on one device.

    Attributes:
        p50: for each run, the median of each block of frames, ms.
        p90: for each run, the 90th percentile of each block, ms.
        fastest: the fastest frame of all runs, ms; None where that is not known: a baseline does not keep it.
        instructions: per frame.
        peak_rss: bytes.
        delegated: percent of nodes.
        load: from the file to a runtime that is ready, ms.
        first: the first inference, ms.
        unfit: why its times are no evidence, `""` if they are.
    """

    p50: tuple[Floats, ...] = ()
    p90: tuple[Floats, ...] = ()
    fastest: float | None = None
    instructions: float | None = None
    peak_rss: float | None = None
    delegated: float | None = None
    load: float | None = None
    first: float | None = None
    unfit: str = ""


@dataclass(frozen=True, eq=False)
class Frames:
    """Whole frames of a video on one device, from camera to smoothed answer.

    Attributes:
        clip: the video.
        rate: frames per second that are held; None where times are no evidence.
        stages: what each took.
    """

    clip: str
    rate: float | None
    stages: Mapping[str, Timing]


@dataclass(frozen=True, eq=False)
class Device:
    """A device with the artifacts that ran on it, by format, and whole frames where they were timed."""

    name: str
    cpu: str
    emulated: bool
    threads: int
    timings: Mapping[str, Timing]
    frames: Frames | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known of a bundle.

    Attributes:
        name: the network's.
        edgefer_version: that made it.
        spec: what its heads mean.
        files: int8 artifacts by format.
        answers: None where there is no evaluation.
        devices: that it was benchmarked on.
    """

    name: str
    edgefer_version: str
    spec: Spec
    files: Mapping[str, File]
    answers: Answers | None = None
    devices: tuple[Device, ...] = ()

    @cached_property
    def measurements(self) -> Mapping[tuple[str, Place], Measurement | Unfit]:
        """By metric and place."""
        return {(metric, place): found for metric, place, found in self._all()}

    def _all(self) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
        yield from self._of_files()
        yield from self._scored()
        for device in self.devices:
            yield from _timed(device)
            if device.frames is not None and not device.emulated:
                yield from _of_frames(device.frames, device)

    def _of_files(self) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
        for format, file in self.files.items():
            yield "size", Place(format), Exact(file.bytes)
            if file.delegated is not None:
                yield "delegated", Place(format), Exact(file.delegated)

    def _scored(self) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
        if self.answers is None:
            return
        images = f"{self.answers.source} (sha256 {self.answers.sha256[:12]})"
        groups = self.answers.groups
        for head in self.spec.outputs:
            answers = self.answers.heads.get(head.name, {})
            name = head.name if len(self.spec.outputs) > 1 else ""
            for format in sorted(answers.keys() & self.files.keys()):
                for score in scores(head, answers, format):
                    if np.isfinite(score.statistic(score.features.mean(axis=0))):
                        context = f"{len(score.features):,} images of {images}"
                        chosen = groups if groups is None or score.known is None else groups[score.known]
                        kind = score.features, score.statistic, score.scale
                        scored = Scored(*kind, self.files[format].sha256, context, chosen, score.least)
                        yield score.metric, Place(format, name, score.label), scored


def _timed(device: Device) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
    """Times and memory of an emulated board are those of the emulator, and no evidence; counts are."""
    for format, timing in sorted(device.timings.items()):
        place = Place(format, device=device.name, threads=str(device.threads))
        counted = {"instructions": timing.instructions, "delegated": timing.delegated}
        if not device.emulated:
            counted["peak_rss"] = timing.peak_rss
            if not timing.unfit:
                counted |= {"load_time": timing.load, "first_inference": timing.first}
            yield from _quantiles("latency", place, timing, device.cpu)
        for metric, value in counted.items():
            if value is not None:
                yield metric, place, Exact(value, device.cpu)


def _of_frames(frames: Frames, device: Device) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
    """The label is the stage."""
    context = f"{device.cpu} with {frames.clip}"
    for stage, timing in frames.stages.items():
        place = Place("tflite", label=stage, device=device.name, threads=str(device.threads))
        yield from _quantiles("frame", place, timing, context)
        if stage == "total":
            held = Unfit(timing.unfit) if frames.rate is None else Exact(frames.rate, context)
            yield "frame_rate", replace(place, label=""), held


def _quantiles(
    name: str, place: Place, timing: Timing, context: str
) -> Iterator[tuple[str, Place, Measurement | Unfit]]:
    for metric, runs in ((f"{name}_p50", timing.p50), (f"{name}_p90", timing.p90)):
        yield metric, place, Unfit(timing.unfit) if timing.unfit else Timed(runs, context, timing.fastest)
