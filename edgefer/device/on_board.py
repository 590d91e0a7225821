"""One device's part of a benchmark: bring what is needed there, measure, compare, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from edgefer.board.instructions import Instructions, parse, per_frame
from edgefer.bundle import Artifact, Bundle
from edgefer.device.comparison import Heads
from edgefer.device.latency import NANOSECONDS, Latency
from edgefer.device.operator_costs import operator_costs
from edgefer.device.pipeline import FPS, FRAMES, Clip, Pipeline, measure_pipeline, pipeline_of
from edgefer.device.results import ArtifactRun, Run, Settings, Timing, labelled
from edgefer.device.session import AgentError, Session
from edgefer.device.sustained import Sustained, measure_sustained
from edgefer.device.target import Device
from edgefer.device.throughput import Streams, Throughput, measure_streams, most_attempts, throughput
from edgefer.device.verdict import SETTLING_S, judge
from edgefer.device.workload import Workload
from edgefer.errors import DeviceError
from edgefer.quantize.costs.cost import CostModel

TICKS = 20
"""What one measurement counts for in the progress of a run."""
INFERENCES = 4
"""That instructions are counted over."""

Tick: TypeAlias = Callable[[int], None]
"""Called with the number of ticks that went by, often with none; what it raises ends the run."""


@dataclass(frozen=True)
class Extras:
    """What is measured only where it is asked for.

    Attributes:
        instructions: of every artifact, on an emulated board.
        operators: what they cost, each by itself.
        clip: that goes all the way from a camera to a smoothed answer.
        throughput: frames per second of interpreters side by side; where None, on devices whose time means something.
        batch: also so many images at once, where an artifact takes them.
        sustained_s: artifacts in turns, for so long.
    """

    instructions: bool = False
    operators: bool = False
    clip: Clip | None = None
    throughput: bool | None = False
    batch: int = 1
    sustained_s: float = 0.0


def ticks(workload: Workload, settings: Settings, extras: Extras) -> int:
    """How many ticks `run_on` has."""
    each = len(settings.threads) + (extras.throughput is not False)
    count = TICKS * (len(workload.artifacts) * each + extras.operators + (extras.clip is not None))
    return count + (_sustained_ticks(extras.sustained_s) if extras.sustained_s else 0)


def run_on(device: Device, workload: Workload, settings: Settings, extras: Extras, tick: Tick) -> Run:
    """Measure all artifacts on a device.

    Args:
        device: where.
        workload: what.
        settings: how frames are timed.
        extras: what else is measured.
        tick: told how it gets on.

    Raises:
        DeviceError: the device cannot be reached, goes away or refuses; or has the runtime of no artifact.
        CancelledError: `tick` raised it before anything was measured; later, what was measured is returned.
    """
    gathered = _Gathered()
    with Session(device) as session:
        try:
            _gather(session, workload, settings, extras, tick, gathered)
        except CancelledError:
            if not gathered.artifacts:
                raise
            gathered.lacking.append("it was interrupted before all was measured")
    with _understood(device):
        return _judged(device, session.machine, gathered, settings)


class _Recorder:
    """Puts the conditions of several measurements on one time line."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.before: Mapping[str, Any] = {}
        self.after: Mapping[str, Any] = {}
        self.timeline: list[Mapping[str, Any]] = []
        self.jump_s = 0.0

    def take(self, file: str, began: float, reply: Mapping[str, Any]) -> float:
        """Add what a measurement that began then brought; when its timed frames began, since the run did."""
        offset, conditions = began - self.begun, reply["conditions"]
        self.before = self.before or conditions["before"]
        self.after = conditions["after"]
        end = reply["begun_s"] + reply["duration_ns"] / 1e9
        for sample in conditions["timeline"]:
            settled = reply["begun_s"] + SETTLING_S <= sample["t_s"] <= end
            at = {"t_s": round(offset + sample["t_s"], 3), "artifact": file, "settled": settled}
            self.timeline.append({**sample, **at})
        self.jump_s = max(self.jump_s, reply["jump_s"], key=abs)
        return float(offset + reply["begun_s"])


@dataclass
class _Gathered:
    """What was measured so far."""

    artifacts: dict[str, ArtifactRun] = field(default_factory=dict)
    costs: CostModel | None = None
    pipeline: Pipeline | None = None
    sustained: Sustained | None = None
    lacking: list[str] = field(default_factory=list)
    missing: AgentError | None = None
    recorder: _Recorder = field(default_factory=_Recorder)

    @contextmanager
    def without_runtimes(self) -> Iterator[None]:
        """A runtime that is not there is noted, and others are measured."""
        try:
            yield
        except AgentError as error:
            if error.kind != "no runtime":
                raise
            self.lacking.append(error.message)
            self.missing = self.missing or error


def _gather(
    session: Session, workload: Workload, settings: Settings, extras: Extras, tick: Tick, gathered: _Gathered
) -> None:
    """Measure one thing after the other; what heats the board comes last."""
    inputs = {name: session.push(data) for name, data in workload.inputs.items()}
    models: dict[str, str] = {}
    found = gathered.artifacts
    for artifact in workload.artifacts:
        file = artifact.file
        models[file] = session.push((workload.bundle.path / file).read_bytes())
        paths = {**inputs, "model": models[file]}
        with gathered.without_runtimes():
            found[file] = _measure(session, artifact, paths, workload, settings, gathered.recorder, tick)
            if extras.instructions:
                found[file] = replace(found[file], instructions=_count(session, artifact, paths))
    if not found and gathered.missing is not None:
        raise gathered.missing
    if extras.operators:
        with gathered.without_runtimes():
            gathered.costs = _operators(session, tick)
    if extras.clip is not None:
        with gathered.without_runtimes():
            gathered.pipeline = _pipeline(session, extras.clip, workload.bundle, settings, gathered.recorder, tick)
    if extras.throughput or (extras.throughput is None and not _is_emulated(session.device, session.machine)):
        for file, artifact_run in found.items():
            artifact, paths = artifact_run.artifact, {**inputs, "model": models[file]}
            batches = (1, extras.batch) if artifact.batch == "dynamic" and extras.batch > 1 else (1,)
            side_by_side = _throughput(session, artifact, paths, batches, settings, tick)
            found[file] = replace(artifact_run, throughput=side_by_side)
    if extras.sustained_s:
        gathered.sustained = Sustained(extras.sustained_s)
        formats = {file: (run.artifact.format, models[file]) for file, run in found.items()}
        _sustained(session, gathered.sustained, formats, inputs, settings, tick)


def _judged(device: Device, machine: Mapping[str, Any], gathered: _Gathered, settings: Settings) -> Run:
    machine = {**machine, "emulated": _is_emulated(device, machine)}
    recorder = gathered.recorder
    times = {
        f"{file}, {timing.threads} thread{'s' * (timing.threads > 1)}": timing.invoke
        for file, artifact_run in gathered.artifacts.items()
        for timing in (artifact_run.timing, *artifact_run.sweep)
    }
    verdict = judge(
        machine,
        [recorder.before, *recorder.timeline, recorder.after],
        times,
        list(dict.fromkeys(gathered.lacking)),
        paced=settings.fps is not None,
        jump_s=recorder.jump_s,
    )
    return Run(
        _facts(device, machine),
        verdict,
        recorder.before,
        recorder.after,
        tuple(recorder.timeline),
        gathered.artifacts,
        gathered.costs,
        gathered.pipeline,
        gathered.sustained if gathered.sustained and gathered.sustained.windows else None,
    )


def _measure(
    session: Session,
    artifact: Artifact,
    paths: Mapping[str, str],
    workload: Workload,
    settings: Settings,
    recorder: _Recorder,
    tick: Tick,
) -> ArtifactRun:
    replies: list[Mapping[str, Any]] = []
    timings: list[Timing] = []
    for threads in settings.threads:
        ticker = _Ticker(tick)
        began = time.monotonic()
        reply = session.request(
            "measure",
            listener=ticker,
            paths=paths,
            format=artifact.format,
            threads=threads,
            frames=settings.frames,
            seconds=settings.seconds,
            warmup=settings.warmup,
            fps=settings.fps,
            outputs=not replies,
        )
        ticker.finish()
        replies.append(reply)
        with _understood(session.device):
            timings.append(_timing(threads, recorder.take(artifact.file, began, reply), reply))
    first = replies[0]
    with _understood(session.device):
        drift = workload.drift(artifact, _heads(first["outputs"], workload))
        return ArtifactRun(artifact, first["runtime"], timings[0], tuple(timings[1:]), first["nodes"], drift, None)


def _count(session: Session, artifact: Artifact, paths: Mapping[str, str]) -> Instructions:
    reply = session.request("count", paths=paths, format=artifact.format, inferences=INFERENCES)
    return per_frame(parse(reply["snapshots"]), range(INFERENCES))


def _throughput(
    session: Session,
    artifact: Artifact,
    paths: Mapping[str, str],
    batches: Sequence[int],
    settings: Settings,
    tick: Tick,
) -> Throughput:
    ticker = _Ticker(tick)
    cores = session.machine["cores"] or 1
    total, done = most_attempts(cores, batches), 0

    def attempt(batch: int, threads: int, instances: int) -> Streams:
        nonlocal done
        combination = (batch, threads, instances)
        found = measure_streams(session, paths, artifact.format, combination, settings.frames, settings.seconds, ticker)
        done += 1
        ticker({"share": done / total})
        return found

    with _understood(session.device):
        found = throughput(attempt, cores, batches)
    ticker.finish()
    return found


def _sustained(
    session: Session,
    found: Sustained,
    models: Mapping[str, tuple[str, str]],
    inputs: Mapping[str, str],
    settings: Settings,
    tick: Tick,
) -> None:
    ticker = _Ticker(tick, _sustained_ticks(found.asked_s))
    with _understood(session.device):
        measure_sustained(session, found, models, inputs, settings.threads[0], ticker)
    ticker.finish()


def _sustained_ticks(seconds: float) -> int:
    """As many as its time deserves beside other measurements, which take some ten seconds each."""
    return max(TICKS, round(TICKS * seconds / 10))


def _operators(session: Session, tick: Tick) -> CostModel:
    ticker = _Ticker(tick)
    with _understood(session.device):
        machine = session.machine
        emulated = _is_emulated(session.device, machine)
        name = f"{labelled(session.device.name, emulated)}, {machine['cpu'] or machine['machine']}"
        costs = operator_costs(session, name, emulated, ticker)
    ticker.finish()
    return costs


def _pipeline(
    session: Session, clip: Clip, bundle: Bundle, settings: Settings, recorder: _Recorder, tick: Tick
) -> Pipeline:
    ticker = _Ticker(tick)
    began = time.monotonic()
    fps, frames = settings.fps or FPS, min(settings.frames, FRAMES)
    reply = measure_pipeline(session, clip, bundle, fps, frames, settings.threads[0], ticker)
    ticker.finish()
    with _understood(session.device):
        recorder.take("pipeline", began, reply)
        return pipeline_of(clip, fps, reply)


class _Ticker:
    """Turns shares of a measurement into ticks."""

    def __init__(self, tick: Tick, total: int = TICKS) -> None:
        self._tick = tick
        self._total = total
        self._done = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._reach(max(self._done, int(event.get("share", 0) * self._total)))

    def finish(self) -> None:
        self._reach(self._total)

    def _reach(self, count: int) -> None:
        self._tick(count - self._done)
        self._done = count


def _timing(threads: int, started_s: float, reply: Mapping[str, Any]) -> Timing:
    return Timing(
        threads=threads,
        load_ms=reply["load_ns"] * NANOSECONDS,
        first_ms=reply["first_ns"] * NANOSECONDS,
        started_s=started_s,
        duration_s=reply["duration_ns"] / 1e9,
        preprocess=Latency.of_nanoseconds(reply["preprocess_ns"]),
        invoke=Latency.of_nanoseconds(reply["invoke_ns"]),
        postprocess=Latency.of_nanoseconds(reply["postprocess_ns"]),
        late_frames=reply["late_frames"],
        peak_rss_bytes=reply["peak_rss_bytes"],
    )


def _heads(outputs: Mapping[str, list[str]], workload: Workload) -> Heads:
    shapes = {head.name: (workload.samples, len(head.labels)) for head in workload.bundle.spec.outputs}
    return {
        name: np.frombuffer(bytes.fromhex("".join(outputs[name])), "<f4").reshape(shape)
        for name, shape in shapes.items()
    }


@contextmanager
def _understood(device: Device) -> Iterator[None]:
    """What a board answers may be anything."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise DeviceError(f"{device.name}: its answer makes no sense: {type(error).__name__}: {error}") from error


def _is_emulated(device: Device, machine: Mapping[str, Any]) -> bool:
    return bool(device.emulated or machine["emulated"])


def _facts(device: Device, machine: Mapping[str, Any]) -> dict[str, Any]:
    told = ("emulated", "model", "machine", "cpu", "features", "kernel", "libc", "cores", "python", "cpu_lists")
    return {"name": device.name, "host": device.host or None, **{key: machine[key] for key in told}}
