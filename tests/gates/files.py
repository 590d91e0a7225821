"""Bundles of a few bytes, with evaluations and benchmarks to judge them by."""

import json
from hashlib import sha256
from importlib.resources import files
from itertools import count

import numpy as np

from edgefer.bundle import write_bundle
from edgefer.evaluation.array_text import pack

LABELS = ("angry", "happy", "neutral", "sad")
EXPRESSION = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": list(LABELS)}
AFFECT = {"name": "affect", "kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]}
UNITS = {"name": "units", "kind": "action_units", "activation": "sigmoid", "labels": ["AU1", "AU12", "AU25"]}
EMBEDDING = {"name": "face", "kind": "embedding", "labels": ["0", "1", "2", "3", "4", "5"]}
_INPUT = {"size": [16, 16], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
_NUMBERS = count()


def schema(name):
    return json.loads(files("edgefer").joinpath("schemas", f"{name}-1.schema.json").read_text("utf-8"))


def make_bundle(folder, *, sizes=(4_000_000, 4_000_000), seed=0, undelegated=(), outputs=(EXPRESSION,), **others):
    """A bundle whose artifacts hold no network; equal seeds and sizes give equal bytes."""
    contents = {
        f"net_int8.{format}": bytes([seed]) + format.encode() + b"\0" * (size - 1 - len(format))
        for format, size in zip(("tflite", "onnx"), sizes, strict=True)
    } | {"net_fp32.onnx": b"float"}
    artifacts = [
        {
            "file": name,
            "format": name.rpartition(".")[2],
            "precision": "float32" if "fp32" in name else "int8",
            "bytes": len(data),
            "sha256": sha256(data).hexdigest(),
            "ops": {"int8": 90, "float": 10},
            "macs": 1000,
        }
        for name, data in contents.items()
    ]
    manifest = {
        "schema": "edgefer.bundle/1",
        "name": "net",
        "edgefer_version": "0.1.0",
        "input": _INPUT,
        "outputs": list(outputs),
        "artifacts": artifacts,
        "budget_bytes": 8_000_000,
        "quantization": {"undelegated": list(undelegated)},
        **others,
    }
    return write_bundle(folder / f"bundle{next(_NUMBERS)}", manifest, {**contents, "plan.json": b"{}"})


def write_evaluation(bundle, answers, *, data="a" * 64, sequences=()):
    """The evaluation of a bundle whose models say `answers`, by head and then by model."""
    artifacts = {"reference" if a.precision == "float32" else a.format: {"sha256": a.sha256} for a in bundle.artifacts}
    document = {
        "schema": "edgefer.evaluation/1",
        "bundle": {"artifacts": artifacts},
        "data": {"source": "faces.npz", "sha256": data, "sequences": list(sequences)},
        "per_image": {head: {model: pack(v) for model, v in models.items()} for head, models in answers.items()},
    }
    return _written(bundle, document)


def expressions(images=4000, *, wrong=0.3, changed=0.02, lost=0.0, seed=0):
    """Answers of models: a share is wrong; a share changes, as often for the better; a share more is lost."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, images)
    reference = np.where(rng.random(images) < wrong, (targets + 1) % 4, targets)
    rng = np.random.default_rng(seed)
    is_right, change = (
        reference == targets,
        rng.random(images) < changed / 2 / np.where(reference == targets, 1 - wrong, wrong),
    )
    artifact = np.where(change, np.where(is_right, (targets + 1) % 4, targets), reference)
    artifact = np.where(rng.random(images) < lost, (targets + 2) % 4, artifact)
    return {"expression": {"targets": targets, "reference": reference, "tflite": artifact, "onnx": artifact}}


def write_benchmark(
    bundle, *, ms=10.0, noise=0.01, frames=1024, seed=0, status="trusted", emulated=False, pipeline=None, **others
):
    """A benchmark on a device: log-normal times around `ms`; `others` go into the device or the artifact.

    `pipeline` says how long stages of whole frames took, ms, where they were timed.
    """
    rng = np.random.default_rng(seed)
    device = {"name": "pi4", "host": "pi", "emulated": emulated, "model": "Pi 4", "cpu": "Cortex-A72", "cores": 4}
    device |= {key: others.pop(key) for key in ("name", "cpu") if key in others}
    entries = {}
    for a in bundle.artifacts:
        invoke = {"samples": _times(rng, ms, noise, frames)}
        entry = {"format": a.format, "precision": a.precision, "threads": 1, "invoke_ms": invoke}
        entry |= {"load_ms": 20.0, "first_ms": 30.0, "peak_rss_bytes": 40_000_000, "nodes": None}
        entries[a.file] = entry | {"instructions": None, "sweep": []} | others
    verdict = {"status": status, "reasons": [] if status == "trusted" else ["the clock fell to 600 MHz"]}
    artifacts = {a.file: {"format": a.format, "precision": a.precision, "sha256": a.sha256} for a in bundle.artifacts}
    run = {"device": device, "verdict": verdict, "artifacts": entries, "settings": {"threads": 1}}
    if pipeline is not None:
        stages = {stage: {"samples": _times(rng, ms, noise, 300)} for stage, ms in pipeline.items()}
        held = int(1000 / np.quantile(stages["total"]["samples"], 0.99))
        run["pipeline"] = {"clip": "a.mp4", "size": [640, 480], "stages_ms": stages, "holds_fps": held}
    document = {"schema": "edgefer.benchmark/1", "bundle": {"artifacts": artifacts}, "runs": [run]}
    return _written(bundle, document)


def _times(rng, ms, noise, count):
    return [round(float(v), 4) for v in ms * np.exp(rng.normal(0, noise, count))]


def _written(bundle, document):
    path = bundle.path.parent / f"evidence{next(_NUMBERS)}.json"
    path.write_text(json.dumps(document))
    return path
