"""`run`: faces in video, and what the network says of them over time.

    OUT/
      frames.csv     a row for every frame, also without a face
      events.csv     when an expression or action unit showed
      summary.json   per source and face; schema `edgefer.run/1`
      report.html    the same for people

Neither pixels nor embeddings of faces are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from edgefer.bundle import Bundle
from edgefer.errors import InputError, UsageError
from edgefer.execution import Executor, Job, Store, execute, executor
from edgefer.execution.task import Perform
from edgefer.faces.detectors import BLAZEFACE, detector_maker
from edgefer.faces.face import Detector
from edgefer.host.progress import SILENT, Advance, Progress
from edgefer.runtime.runners import Runner, open_runner
from edgefer.spec import Spec
from edgefer.timeline.asking import Asking, ByLevels, EveryNth
from edgefer.timeline.look import Looking, Told, look
from edgefer.timeline.observed import Observed
from edgefer.timeline.policy import Policy
from edgefer.timeline.results import FaceSummary, Failure, Run, SourceSummary, Timeline
from edgefer.timeline.score_names import columns, main_head
from edgefer.timeline.smoothing import Smoothing
from edgefer.timeline.timeline import FaceLine, events, face_lines
from edgefer.video.frames import Source
from edgefer.video.opening import open_sources

_VERSION = 2  # of what is kept of sources that were done
_WHOLE = 0.9  # of the frames that a container says it has

Tell = Callable[[Told], None]
"""Told of each face in each frame as it comes."""


@dataclass(frozen=True)
class RunOptions:
    """How sources are looked at.

    Attributes:
        format: of the artifact that is run, `tflite` or `onnx`.
        detector: `blazeface`, `none`, or the file of a YuNet network.
        boxes: a table of boxes that is used instead.
        detect_every: on every so many frames; optical flow carries boxes on between.
        stride: the network is asked on every so many frames.
        policy: chooses frames instead; None to ask at the stride.
        most_faces: so many of the largest faces are followed, None for all.
        smoothing: of scores over time.
        fps: of folders of pictures that have no times.
        duration_s: after which a camera is left.
    """

    format: str = "tflite"
    detector: str | Path = BLAZEFACE
    boxes: Path | None = None
    detect_every: int = 1
    stride: int = 1
    policy: Policy | None = None
    most_faces: int | None = None
    smoothing: Smoothing = field(default_factory=Smoothing)
    fps: float | None = None
    duration_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the paths of this machine."""
        return {
            "format": self.format,
            "detector": Path(self.detector).name if self.boxes is None else "boxes",
            "detect_every": self.detect_every,
            "stride": self.stride,
            "policy": self.policy and self.policy.recommended,
            "most_faces": self.most_faces,
            "smoothing": {
                "mode": self.smoothing.mode,
                "half_s": dict(self.smoothing.half_s),
                "gap_s": self.smoothing.gap_s,
            },
        }


def run(
    bundle: Bundle | str | Path,
    sources: Sequence[str | Path],
    *,
    options: RunOptions | None = None,
    consent: str = "",
    workers: Executor | int | None = None,
    progress: Progress = SILENT,
    tell: Tell | None = None,
    save: Callable[[Run], None] = lambda found: None,
) -> Run:
    """Find, follow and score the faces of sources.

    A source that was finished before an interruption is not looked at again.

    Args:
        bundle: an opened bundle, or its directory.
        sources: video files, folders of videos, folders of pictures, `camera:0`.
        options: how; the defaults if None.
        consent: a note on the consent of those who are seen, which results carry.
        workers: so many sources are looked at at once, one per processor by default; or whoever else does it.
        progress: who is told.
        tell: told of each face in each frame as it comes.
        save: takes what is found; where it fails, as on a full disk, the same call goes on from what was done.

    Raises:
        UsageError: no source is named, or options contradict each other.
        InputError: the bundle or the detector cannot be read, or not one source can.
        EvidenceError: the workers are gone; what was done until then is kept.
    """
    options = options or RunOptions()
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    artifact = bundle.artifact(options.format)
    make_detector = detector_maker(options.detector, options.boxes)
    opened = list(open_sources(sources, fps=options.fps, duration_s=options.duration_s))
    identity = sha256(artifact.read_bytes()).hexdigest()
    _check_asking(options, identity, bundle.spec)
    task = Look(artifact, options, bundle.spec, make_detector, tell)
    store = Store.of(sha256(repr((_VERSION, identity, _content(options), bundle.spec)).encode()).hexdigest())
    found = _look_at(opened, task, store, executor(workers), progress)
    timelines = tuple(_timeline(each, bundle.spec, options.smoothing) for each in found if isinstance(each, Observed))
    failures = tuple(each for each in found if isinstance(each, Failure))
    if not timelines and len(failures) == 1:
        raise InputError(f"{failures[0].source}: {failures[0].reason}", remedy=failures[0].remedy)
    for failure in failures:
        progress.note(f"{failure.source}: left out: {failure.reason}")
    if not timelines:
        raise InputError(f"not one of {len(failures)} sources can be read")
    named = {"name": bundle.name, "artifact": artifact.name, "sha256": identity}
    done = Run(named, options.to_dict(), consent, timelines, failures)
    save(done)
    store.forget(timeline.observed.digest for timeline in timelines if timeline.observed.digest)
    return done


@dataclass(frozen=True, eq=False)
class Look:
    """The task: look at a source, with detector and runtime of one's own.

    Attributes:
        artifact: that is run.
        options: how.
        spec: of the network.
        make_detector: see `detector_maker`.
        tell: told of each face in each frame as it comes, where the work is done in this process.
    """

    artifact: Path
    options: RunOptions
    spec: Spec
    make_detector: Callable[[], Detector]
    tell: Tell | None = None

    @property
    def files(self) -> Mapping[str, Path]:
        """See `Task`."""
        detector = Path(self.options.detector)
        own = self.options.boxes is None and detector.is_file()
        return {"artifact": self.artifact} | ({"detector": detector} if own else {})

    def open(self, files: Mapping[str, Path]) -> Perform:
        """See `Task`.

        Raises:
            InputError: a runtime refuses the network, or the detector's.
        """
        runner = open_runner(files["artifact"], self.options.format, spec=self.spec)
        detector = detector_maker(files["detector"])() if "detector" in files else self.make_detector()
        how = (self.options.detect_every, self.options.most_faces, self.options.smoothing)
        looking = Looking(detector, self._asking(runner), self.spec, *how)

        def perform(source: Source, advance: Advance) -> bytes:
            return look(source, looking, advance, self.tell).to_bytes()

        return perform

    def _asking(self, runner: Runner) -> Callable[[], Asking]:
        policy, head = self.options.policy, main_head(self.spec)
        if policy is None or head is None:
            return lambda: EveryNth(runner.beside(), self.options.stride)
        return lambda: ByLevels(runner, policy.levels, head.name)


def _check_asking(options: RunOptions, network: str, spec: Spec) -> None:
    if options.policy is None:
        return
    if spec.is_of_sequences:
        raise UsageError(
            "the network looks at more than one frame, and a policy asks on frames out of their order",
            remedy="Leave the policy out.",
        )
    if options.stride != 1:
        raise UsageError("a policy chooses the frames that the network is asked on; leave the stride out")
    options.policy.check((network,), spec)


def _content(options: RunOptions) -> tuple[Any, ...]:
    """What decides what is observed: smoothing does not."""
    files = [Path(each) for each in (options.detector, options.boxes) if each is not None and Path(each).is_file()]
    read = tuple(sha256(file.read_bytes()).hexdigest() for file in files)
    how = (options.detect_every, options.stride, options.policy and options.policy.levels, options.most_faces)
    return (str(options.detector), read, *how, options.format)


def _look_at(
    opened: Sequence[Source | InputError], task: Look, store: Store, workers: Executor, progress: Progress
) -> list[Observed | Failure]:
    """What is observed of each source, in their order."""
    found: dict[int, Observed | Failure] = {}
    jobs: dict[int, Job] = {}
    for place, source in enumerate(opened):
        try:
            if isinstance(source, InputError):
                raise source
            jobs[place] = _job(source)
        except InputError as error:
            found[place] = _failure(error)
    places = list(jobs)
    for turn, outcome in execute(task, list(jobs.values()), workers, store, progress, "look", "frames"):
        job = jobs[places[turn]]
        if isinstance(outcome, InputError):
            found[places[turn]] = replace(_failure(outcome), source=job.name)
            continue
        observed = Observed.from_bytes(outcome)
        if observed.digest != job.key:
            raise InputError(
                f"{job.name}: changed while in use, or is another file where a worker looks for it",
                remedy="Workers elsewhere must see the same files by the same paths, or be sent them: --send-data.",
            )
        if len(observed.times) < _WHOLE * (job.steps or 0):
            progress.note(f"{job.name}: ends after {len(observed.times)} of about {job.steps} frames: is it whole?")
        found[places[turn]] = replace(observed, source=job.name)
    return [found[place] for place in range(len(opened))]


def _failure(error: InputError) -> Failure:
    """Messages begin with the source's name or path."""
    name = re.match(r"camera:\d+|.*?(?=: )", error.message)
    where = name[0] if name else ""
    return Failure(where, error.message.removeprefix(f"{where}: "), error.remedy)


def _job(source: Source) -> Job:
    return Job(source.digest, lambda carried: source.carried() if carried else source, source.expected, source.name)


def _timeline(observed: Observed, spec: Spec, smoothing: Smoothing) -> Timeline:
    lines = tuple(face_lines(observed, spec, smoothing))
    covered = {int(frame) for line in lines for frame in line.frames}
    summary = SourceSummary(
        observed.source,
        observed.digest,
        len(observed.times),
        round(float(observed.times[-1] - observed.times[0]), 6),
        len(covered),
        observed.detector_calls,
        int(sum(track.inferred.sum() for track in observed.tracks)),
        observed.fleeting,
        tuple(_face(line, spec) for line in lines),
    )
    return Timeline(observed, lines, tuple(events(observed, spec, list(lines))), summary)


def _face(line: FaceLine, spec: Spec) -> FaceSummary:
    named = columns(spec)
    head = main_head(spec)
    known = line.smooth[~np.isnan(line.smooth).any(axis=1)]
    expression = [index for index, column in enumerate(named) if head and column.head is head]
    shares: Mapping[str, float] = {}
    if expression and len(known):
        tops = known[:, expression].argmax(axis=1)
        counts = np.bincount(tops, minlength=len(expression)) / len(tops)
        shares = {named[index].label: round(float(share), 6) for index, share in zip(expression, counts, strict=True)}
    means = known.mean(axis=0) if len(known) else np.full(len(named), nan)
    return FaceSummary(
        line.track.face,
        float(line.times[0]),
        float(line.times[-1]),
        len(line.track.frames),
        int(line.track.inferred.sum()),
        int((line.track.flags != 0).sum()),
        shares,
        {column.name: round(float(mean), 6) for column, mean in zip(named, means, strict=True) if not np.isnan(mean)},
    )
