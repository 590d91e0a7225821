"""What a benchmark finds, as typed values; `Benchmark.to_dict` is the document that --json writes.

Benchmark
  runs: one per device
    artifacts: {file: ArtifactRun}     times, memory, drift, instructions
  failures: devices that could not be measured, and why
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgefer.board.instructions import Instructions
from edgefer.bundle import Artifact
from edgefer.device.comparison import BoardDrift
from edgefer.device.latency import Latency
from edgefer.device.pipeline import Pipeline
from edgefer.device.sustained import Sustained
from edgefer.device.throughput import Throughput
from edgefer.device.verdict import Verdict
from edgefer.errors import DeviceError
from edgefer.quantize.costs.cost import CostModel

SCHEMA = "edgefer.benchmark/1"


def labelled(name: str, emulated: bool) -> str:
    """A device's name, with the label that an emulated one must carry."""
    return f"{name} (EMULATED)" if emulated else name


@dataclass(frozen=True)
class Settings:
    """How frames are timed.

    Attributes:
        frames: at least so many.
        seconds: and at least for so long.
        warmup: frames before them that do not count.
        threads: of the runtime; the first is what results are about, the others make the sweep.
        fps: paced like a camera; None for back to back.
    """

    frames: int = 1024
    seconds: float = 10.0
    warmup: int = 10
    threads: tuple[int, ...] = (1,)
    fps: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "threads": self.threads[0], "sweep": list(self.threads)}


@dataclass(frozen=True, eq=False)
class Timing:
    """One artifact with so many threads on a device.

    Attributes:
        threads: of the runtime.
        load_ms: from the file to a runtime that is ready, without importing it.
        first_ms: the first inference.
        started_s: when the timed frames began, since the run did.
        duration_s: of all timed frames.
        preprocess: from an image to the runtime's input.
        invoke: the runtime alone.
        postprocess: from the runtime's output to an answer.
        late_frames: that the camera would not have waited for; None when back to back.
        peak_rss_bytes: of a process that does nothing else.
    """

    threads: int
    load_ms: float
    first_ms: float
    started_s: float
    duration_s: float
    preprocess: Latency
    invoke: Latency
    postprocess: Latency
    late_frames: int | None
    peak_rss_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "threads": self.threads,
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "started_s": self.started_s,
            "duration_s": self.duration_s,
            "invoke_ms": self.invoke.to_dict(),
            "preprocess_ms": self.preprocess.to_dict(),
            "postprocess_ms": self.postprocess.to_dict(),
            "late_frames": self.late_frames,
            "peak_rss_bytes": self.peak_rss_bytes,
        }


@dataclass(frozen=True, eq=False)
class ArtifactRun:
    """One artifact on a device.

    Attributes:
        artifact: which.
        runtime: `name`, `version` and `delegate`.
        timing: with the first number of threads.
        sweep: with the others.
        nodes: `total` and `delegated`; None where the runtime does not tell.
        drift: what it computes there.
        instructions: ARM instructions per inference; None where they were not counted.
        throughput: frames per second of interpreters side by side; None where that was not asked.
    """

    artifact: Artifact
    runtime: Mapping[str, str | None]
    timing: Timing
    sweep: tuple[Timing, ...]
    nodes: Mapping[str, int] | None
    drift: BoardDrift
    instructions: Instructions | None
    throughput: Throughput | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; neither LiteRT nor ONNX Runtime lets a program take a snapshot between two operators."""
        return {
            "format": self.artifact.format,
            "precision": self.artifact.precision,
            "runtime": dict(self.runtime),
            **self.timing.to_dict(),
            "sweep": [timing.to_dict() for timing in self.sweep],
            "nodes": self.nodes and dict(self.nodes),
            "drift": self.drift.to_dict(),
            "instructions": self.instructions and {**self.instructions.to_dict(), "by_operator": None},
            "throughput": self.throughput and self.throughput.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Run:
    """A bundle on one device.

    Attributes:
        device: facts about it, plain data.
        verdict: what the run is worth as evidence.
        before: conditions before the first artifact, plain data.
        after: conditions after the last.
        timeline: conditions meanwhile, each with `t_s` since the run began, and the `artifact` that ran.
        artifacts: by file.
        operator_costs: what operators cost there; None where that was not asked.
        pipeline: frames from camera to smoothed answer; None where that was not asked.
        sustained: artifacts in turns for long; None where that was not asked.
    """

    device: Mapping[str, Any]
    verdict: Verdict
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    timeline: tuple[Mapping[str, Any], ...]
    artifacts: Mapping[str, ArtifactRun]
    operator_costs: CostModel | None
    pipeline: Pipeline | None = None
    sustained: Sustained | None = None

    @property
    def name(self) -> str:
        """The device's, with the label that an emulated one must carry."""
        return labelled(self.device["name"], self.device["emulated"])


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A bundle on several devices.

    Attributes:
        bundle: its name, digest and artifacts, plain data.
        data: source and number of the images.
        settings: how frames were timed.
        runs: one per device that could be measured.
        failures: by device, why it could not.
    """

    bundle: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Settings
    runs: tuple[Run, ...]
    failures: Mapping[str, DeviceError]

    @property
    def trusted(self) -> bool:
        """Whether every run is evidence."""
        return all(run.verdict.status == "trusted" for run in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": SCHEMA,
            "bundle": dict(self.bundle),
            "data": dict(self.data),
            "runs": [
                {
                    "device": dict(run.device),
                    "verdict": run.verdict.to_dict(),
                    "conditions": {
                        "before": dict(run.before),
                        "after": dict(run.after),
                        "timeline": [dict(sample) for sample in run.timeline],
                    },
                    "settings": self.settings.to_dict(),
                    "artifacts": {file: artifact.to_dict() for file, artifact in run.artifacts.items()},
                    "operator_costs": run.operator_costs and run.operator_costs.to_dict(),
                    "pipeline": run.pipeline and run.pipeline.to_dict(),
                    "sustained": run.sustained and run.sustained.to_dict(),
                }
                for run in self.runs
            ],
            "failures": [
                {"device": name, "message": error.message, "remedy": error.remedy}
                for name, error in self.failures.items()
            ],
        }
