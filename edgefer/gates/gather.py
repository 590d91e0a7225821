"""Evidence from the files that edgefer's commands write: manifest, evaluation, benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import isfinite
from typing import Any

import numpy as np

from edgefer.bundle import MANIFEST, REFERENCE_PRECISION, Bundle
from edgefer.errors import InputError
from edgefer.evaluation.array_text import unpack
from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.metrics import Array, Floats
from edgefer.evaluation.results import REFERENCE
from edgefer.gates.evidence import Answers, Device, Evidence, File, Frames, Timing
from edgefer.gates.scoring import TARGETS
from edgefer.host.documents import Document
from edgefer.spec import OutputSpec, Spec

BLOCKS = 16
SMALLEST_BLOCK = 32
FEWEST_BLOCKS = 4
"""Of timed frames; fewer are not enough evidence."""


def gather(bundle: Bundle, evaluation: Document | None, benchmarks: Sequence[Document]) -> Evidence:
    """All evidence about a bundle.

    Args:
        bundle: an opened bundle.
        evaluation: what `edgefer evaluate --json` wrote.
        benchmarks: what `edgefer benchmark --json` wrote; several runs on a device tell how far runs differ.

    Raises:
        InputError: a document is damaged, or about another bundle.
    """
    int8 = sorted((a for a in bundle.artifacts if not a.is_reference), key=lambda artifact: artifact.format)
    undelegated = Document(str(bundle.path / MANIFEST), bundle.manifest).read(_undelegated)
    files = {
        a.format: File(
            a.sha256, a.bytes, 100 * (1 - undelegated / sum(a.ops.values())) if a.format == "tflite" else None
        )
        for a in int8
    }
    answers = None
    if evaluation is not None:
        _same_bundle(evaluation, evaluation.read(_evaluated), files)
        answers = evaluation.read(lambda data: _answers(data, files, bundle.spec))
    devices: list[Device] = []
    for benchmark in benchmarks:
        _same_bundle(benchmark, benchmark.read(_benchmarked), files)
        devices += benchmark.read(lambda data: list(_devices(data)))
    return Evidence(bundle.name, str(bundle.manifest["edgefer_version"]), bundle.spec, files, answers, _merged(devices))


def read_answers(heads: Mapping[str, Mapping[str, str]], spec: Spec) -> dict[str, dict[str, Array]]:
    """Packed answers by head, unpacked and checked against what the heads mean.

    Raises:
        ValueError: they do not fit the heads, or each other.
    """
    known = {head.name: head for head in spec.outputs}
    return {
        name: {model: _fitting(unpack(packed), known[name], model) for model, packed in models.items()}
        for name, models in heads.items()
        if name in known and REFERENCE in models and _equally_long(models)
    }


def count(value: Any) -> float:
    """A number that counts something.

    Raises:
        ValueError: it is negative, infinite or no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return float(value)


def _undelegated(manifest: Mapping[str, Any]) -> int:
    """Nodes of the TFLite file that XNNPACK leaves; ONNX Runtime has no delegate on a processor."""
    return len(manifest["quantization"]["undelegated"])


def _evaluated(data: Mapping[str, Any]) -> dict[str, str]:
    return {format: entry["sha256"] for format, entry in data["bundle"]["artifacts"].items() if format != REFERENCE}


def _benchmarked(data: Mapping[str, Any]) -> dict[str, str]:
    entries = data["bundle"]["artifacts"].values()
    return {entry["format"]: entry["sha256"] for entry in entries if entry["precision"] != REFERENCE_PRECISION}


def _same_bundle(document: Document, hashes: Mapping[str, str], files: Mapping[str, File]) -> None:
    for format, digest in hashes.items():
        if format not in files or files[format].sha256 != digest:
            raise InputError(
                f"{document.where}: is about another bundle: its {format} artifact is not this one's",
                remedy="Evaluate or benchmark the bundle that is checked.",
            )


def _answers(data: Mapping[str, Any], files: Mapping[str, File], spec: Spec) -> Answers:
    heads = {
        name: {model: packed for model, packed in models.items() if model in (TARGETS, REFERENCE, *files)}
        for name, models in data["per_image"].items()
    }
    return identified(data["data"], read_answers(heads, spec))


def identified(images: Mapping[str, Any], heads: Mapping[str, Mapping[str, Array]]) -> Answers:
    """Answers of images that a document describes.

    Raises:
        ValueError: they are not as many as their sequences have.
    """
    sequences = tuple(map(int, images.get("sequences", ())))
    counts = {len(values) for models in heads.values() for values in models.values()}
    if sequences and (min(sequences) < 1 or counts - {sum(sequences)}):
        raise ValueError("its sequences do not have as many images as were answered")
    return Answers(str(images["source"]), str(images["sha256"]), heads, sequences)


def _fitting(values: Array, head: OutputSpec, model: str) -> Array:
    """`values`, if they can be those of a head."""
    columns = len(head.labels)
    if chooses_class(head):
        fits = values.ndim == 1 and values.dtype.kind == "i" and values.max(initial=-1) < columns
        fits = fits and values.min(initial=0) >= (-1 if model == TARGETS else 0)
    else:
        fits = values.ndim == 2 and values.shape[1] == columns and values.dtype.kind == "f"
    if not fits:
        raise ValueError(f"what {model} says does not fit head {head.name}")
    return values.astype(np.int64) if chooses_class(head) else values


def _equally_long(models: Mapping[str, str]) -> bool:
    if len({len(unpack(packed)) for packed in models.values()}) > 1:
        raise ValueError("its models were asked about different numbers of images")
    return True


def _devices(data: Mapping[str, Any]) -> Iterator[Device]:
    for run in data["runs"]:
        device, verdict = run["device"], run["verdict"]
        reasons = "; ".join(map(str, verdict["reasons"])) or "no reason given"
        unfit = "" if verdict["status"] == "trusted" else f"{verdict['status']}: {reasons}"
        by_threads: dict[int, dict[str, Timing]] = {}
        for entry in run["artifacts"].values():
            for timing in (entry, *entry["sweep"]) if entry["precision"] != REFERENCE_PRECISION else ():
                by_threads.setdefault(int(timing["threads"]), {})[str(entry["format"])] = _timing(timing, unfit)
        frames = None if run.get("pipeline") is None else _frames(run["pipeline"], unfit)
        for threads, timings in by_threads.items():
            identity = str(device["name"]), str(device["cpu"]), bool(device["emulated"]), threads
            yield Device(*identity, timings, frames if frames and threads == run["settings"]["threads"] else None)


def _frames(pipeline: Mapping[str, Any], unfit: str) -> Frames:
    stages = {str(stage): _times(latency, unfit) for stage, latency in pipeline["stages_ms"].items()}
    width, height = pipeline["size"]
    rate = None if stages["total"].unfit else count(pipeline["holds_fps"])
    return Frames(f"{pipeline['clip']}, {width:d} x {height:d}", rate, stages)


def _times(latency: Mapping[str, Any], unfit: str) -> Timing:
    samples = np.asarray(latency["samples"], np.float64).reshape(-1)
    if not np.isfinite(samples).all() or samples.min(initial=1) <= 0:
        raise ValueError("a time that is no positive number")
    blocks = min(BLOCKS, len(samples) // SMALLEST_BLOCK)
    if blocks < FEWEST_BLOCKS and not unfit:
        unfit = f"{len(samples)} frames were timed; {FEWEST_BLOCKS * SMALLEST_BLOCK} are needed"
    if unfit:
        return Timing(unfit=unfit)
    p50, p90 = ((_quantile(samples, blocks, q),) for q in (0.5, 0.9))
    return Timing(p50, p90, float(samples.min()))


def _timing(entry: Mapping[str, Any], unfit: str) -> Timing:
    nodes, instructions = entry.get("nodes"), entry.get("instructions")
    return replace(
        _times(entry["invoke_ms"], unfit),
        instructions=None if instructions is None else count(instructions["total"]),
        peak_rss=None if entry["peak_rss_bytes"] is None else count(entry["peak_rss_bytes"]),
        delegated=100 * count(nodes["delegated"]) / count(nodes["total"]) if nodes and nodes["total"] else None,
        load=count(entry["load_ms"]),
        first=count(entry["first_ms"]),
    )


def _quantile(samples: Floats, blocks: int, q: float) -> Floats:
    """Of each block of frames that follow each other, ms, to four digits."""
    return np.array([float(f"{np.quantile(block, q):.4g}") for block in np.array_split(samples, blocks)])


def _merged(devices: Sequence[Device]) -> tuple[Device, ...]:
    """One entry per device and number of threads, with the runs of all."""

    def identity(device: Device) -> tuple[str, str, bool, int]:
        return device.name, device.cpu, device.emulated, device.threads

    merged: list[Device] = []
    for (name, cpu, emulated, threads), group in groupby(sorted(devices, key=identity), identity):
        same = list(group)
        runs = [device.timings for device in same]
        formats = sorted({format for timings in runs for format in timings})
        timings = {format: _joined([t[format] for t in runs if format in t]) for format in formats}
        if any(device.name == name and device.threads == threads for device in merged):
            raise InputError(
                f"two devices are called {name}",
                remedy="Benchmark one of them under another name, or check them apart.",
            )
        frames = _frames_joined([device.frames for device in same if device.frames is not None], name)
        merged.append(Device(name, cpu, emulated, threads, timings, frames))
    return tuple(merged)


def _frames_joined(runs: Sequence[Frames], device: str) -> Frames | None:
    if not runs:
        return None
    clips = sorted({frames.clip for frames in runs})
    if len(clips) > 1:
        raise InputError(
            f"on {device} frames of several videos were timed: {'; '.join(clips)}", remedy="Check them apart."
        )
    stages = {stage: _joined([frames.stages[stage] for frames in runs]) for stage in runs[0].stages}
    return Frames(clips[0], _median(frames.rate for frames in runs), stages)


def _joined(timings: Sequence[Timing]) -> Timing:
    """All runs together; those that are unfit count only where none is fit."""
    fit = [timing for timing in timings if not timing.unfit]
    return Timing(
        p50=tuple(run for timing in fit for run in timing.p50),
        p90=tuple(run for timing in fit for run in timing.p90),
        fastest=min((timing.fastest for timing in fit if timing.fastest is not None), default=None),
        instructions=_median(timing.instructions for timing in timings),
        peak_rss=_median(timing.peak_rss for timing in timings),
        delegated=_median(timing.delegated for timing in timings),
        load=_median(timing.load for timing in fit),
        first=_median(timing.first for timing in fit),
        unfit="" if fit else timings[-1].unfit,
    )


def _median(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
