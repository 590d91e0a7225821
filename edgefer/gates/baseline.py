"""The baseline: the evidence of a bundle that was accepted, as a file to keep under version control.

A line holds one value, sorted, so that a diff shows what was accepted; what is long (the answers to each image) is
packed into one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgefer.evaluation.array_text import pack
from edgefer.evaluation.metrics import Floats
from edgefer.gates.evidence import Answers, Device, Evidence, File, Frames, Timing
from edgefer.gates.gather import count, identified, read_answers
from edgefer.gates.measurement import Scored
from edgefer.host.documents import Document
from edgefer.spec import Spec

SCHEMA = "edgefer.baseline/1"
MAKER = "edgefer check --update-baseline"

_ORDINARY = (0.025, 0.025)
_COUNTS = ("instructions", "peak_rss_bytes", "delegated")


def to_text(evidence: Evidence) -> str:
    """The file's text: equal evidence gives equal bytes."""
    document = {
        "schema": SCHEMA,
        "name": evidence.name,
        "edgefer_version": evidence.edgefer_version,
        **evidence.spec.to_dict(),
        "artifacts": {format: vars(file) for format, file in evidence.files.items()},
        "evaluation": evidence.answers and _written(evidence.answers, evidence),
        "benchmarks": {
            device.name: {
                "cpu": device.cpu,
                "emulated": device.emulated,
                "threads": {
                    str(d.threads): {format: _timing(timing) for format, timing in d.timings.items()}
                    for d in evidence.devices
                    if d.name == device.name
                },
            }
            | _whole_frames([d for d in evidence.devices if d.name == device.name])
            for device in evidence.devices
        },
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def from_document(document: Document) -> Evidence:
    """The evidence that `to_text` wrote.

    Raises:
        InputError: the file is damaged.
    """
    return document.read(lambda data: _evidence(data, document.where))


def _written(answers: Answers, evidence: Evidence) -> dict[str, Any]:
    return {
        "data": {"source": answers.source, "sha256": answers.sha256}
        | ({"sequences": list(answers.sequences)} if answers.sequences else {}),
        "answers": {
            head: {model: pack(values) for model, values in models.items()} for head, models in answers.heads.items()
        },
        "found": {
            f"{metric}: {place}": round(measured.level(_ORDINARY).found, 4)
            for (metric, place), measured in evidence.measurements.items()
            if isinstance(measured, Scored)
        },
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "p50_ms": [_line(run) for run in timing.p50],
        "p90_ms": [_line(run) for run in timing.p90],
        "instructions": timing.instructions,
        "peak_rss_bytes": timing.peak_rss,
        "delegated": timing.delegated,
        "load_ms": timing.load,
        "first_ms": timing.first,
    }


def _whole_frames(devices: Sequence[Device]) -> dict[str, Any]:
    """By number of threads, where they were timed."""
    timed = {
        str(device.threads): {
            "clip": frames.clip,
            "rate_fps": frames.rate,
            "stages": {stage: _timing(timing) for stage, timing in frames.stages.items()},
        }
        for device in devices
        if (frames := device.frames) is not None
    }
    return {"frames": timed} if timed else {}


def _line(run: Floats) -> str:
    return " ".join(f"{value:g}" for value in run)


def _evidence(data: Mapping[str, Any], where: str) -> Evidence:
    means = {"input": data["input"], "outputs": data["outputs"], "states": data.get("states", [])}
    spec = Spec.from_dict(means, where)
    evaluation = data["evaluation"]
    answers = None
    if evaluation is not None:
        answers = identified(evaluation["data"], read_answers(evaluation["answers"], spec))
    devices = tuple(
        Device(
            name,
            str(device["cpu"]),
            bool(device["emulated"]),
            int(threads),
            {f: _read(t) for f, t in timings.items()},
            _read_frames(device["frames"][threads]) if threads in device.get("frames", {}) else None,
        )
        for name, device in data["benchmarks"].items()
        for threads, timings in device["threads"].items()
    )
    files = {
        format: File(str(file["sha256"]), round(count(file["bytes"])), _optional(file["delegated"]))
        for format, file in data["artifacts"].items()
    }
    return Evidence(str(data["name"]), str(data["edgefer_version"]), spec, files, answers, devices)


def _read(timing: Mapping[str, Any]) -> Timing:
    p50, p90 = (tuple(_numbers(line) for line in timing[key]) for key in ("p50_ms", "p90_ms"))
    unfit = "" if p50 else "its times were no evidence when it was made"
    instructions, peak_rss, delegated = map(_optional, (timing[k] for k in _COUNTS))
    load, first = (_optional(timing.get(key)) for key in ("load_ms", "first_ms"))
    return Timing(p50, p90, None, instructions, peak_rss, delegated, load, first, unfit)


def _read_frames(frames: Mapping[str, Any]) -> Frames:
    stages = {str(stage): _read(timing) for stage, timing in frames["stages"].items()}
    return Frames(str(frames["clip"]), _optional(frames["rate_fps"]), stages)


def _optional(value: Any) -> float | None:
    return None if value is None else count(value)


def _numbers(line: str) -> Floats:
    values = np.array([float(value) for value in line.split()])
    if not values.size or not np.isfinite(values).all() or values.min() <= 0:
        raise ValueError("a time that is no positive number")
    return values
