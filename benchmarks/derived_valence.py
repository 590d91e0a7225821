"""A network with expressions and valence/arousal in one layer, as HSEmotion's `_va_mtl` has them, converted and judged.

    python -m benchmarks.derived_valence

needs ../shared and torch; takes about two minutes.  FER2013 has no valence and arousal: both are *derived*, as the mean
of where the emotions that people voted for (FER+) lie on the plane of Russell and Mehrabian (1977, "Evidence for a
three-factor theory of emotions", table 1).  Two columns are fitted to them by ridge regression on the features of
`fer_b0.pt`, and put beside its seven logits.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import edgefer
from benchmarks.measured import signed
from benchmarks.train_fer.faces import DATA, TRAIN, VOTED
from edgefer.evaluation.results import Evaluation, HeadEvaluation
from edgefer.graph.contract import apply_contract, head_logits
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.images import open_images
from edgefer.images.preprocess import iter_feeds
from edgefer.networks.families import load_network
from edgefer.runtime.runners import onnx_session

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = DATA.parent / "models" / "fer_b0.pt"
PUBLIC = DATA / "fer2013_public.npz"
CALIBRATION = DATA / "fer2013_calibration.npz"
RESULT = ROOT / "benchmarks" / "results" / "derived_valence.md"

PLANE = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "surprise": (0.40, 0.67),
    "sadness": (-0.63, -0.27),
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "contempt": (-0.55, 0.43),
}
"""Pleasure and arousal of each emotion, in [-1, 1]."""

ACCURACY_BOUND = 0.5  # percentage points
CCC_BOUND = 0.01
FITTED_ON = 8000
_RIDGE = 1e-2  # of the mean variance of a feature


def derived(path: Path) -> np.ndarray[Any, Any]:
    """Valence and arousal (N, 2) of the faces of a file; NaN where nobody voted for an emotion."""
    with np.load(path) as file:
        votes = file["ferplus_votes"][:, : len(VOTED)].astype(np.float64)
    total = votes.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (votes @ np.array([PLANE[name] for name in VOTED])) / total


def fitted() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weights (2, features) and biases (2,) that give valence and arousal of the features."""
    network = load_network(CHECKPOINT)
    graph = apply_contract(normalise(network.graph), network.spec)
    value = graph.producers[head_logits(graph, network.spec)[network.spec.outputs[0].name]].inputs[0]
    session = onnx_session(to_onnx(graph, [value]))
    images = open_images(TRAIN)
    every = np.linspace(0, len(images) - 1, FITTED_ON).astype(int)
    targets = derived(TRAIN)[every]
    feeds = iter_feeds(images.select(int(index) for index in every), network.spec)
    features = np.concatenate([session.run([value], feed)[0] for feed in feeds]).astype(np.float64)
    voted = ~np.isnan(targets).any(axis=1)
    features, targets = features[voted], targets[voted]
    mean, offset = features.mean(axis=0), targets.mean(axis=0)
    centred = features - mean
    alike = centred.T @ centred
    np.einsum("nn->n", alike)[:] += _RIDGE * np.trace(alike) / len(alike)
    weights = np.linalg.solve(alike, centred.T @ (targets - offset)).T
    return weights, offset - weights @ mean


def evaluated(folder: Path) -> Evaluation:
    """The network with both heads, converted and judged on faces that fitted nothing."""
    weights, biases = (torch.from_numpy(array).float() for array in fitted())
    checkpoint = torch.load(CHECKPOINT, weights_only=True)
    labels = checkpoint.pop("label_names")
    state = checkpoint["state_dict"]
    state["classifier.weight"] = torch.cat([state["classifier.weight"], weights])
    state["classifier.bias"] = torch.cat([state["classifier.bias"], biases])
    torch.save({**checkpoint, "num_classes": len(labels) + 2}, folder / "fer_b0_va.pt")
    outputs = [
        {"name": "expression", "kind": "expression", "activation": "softmax", "labels": labels, "columns": [0, 7]},
        {
            **{"name": "valence_arousal", "kind": "valence_arousal", "activation": "none"},
            **{"labels": ["valence", "arousal"], "columns": [7, 9]},
        },
    ]
    bundle = edgefer.convert(
        folder / "fer_b0_va.pt", folder / "bundle", spec={"outputs": outputs}, calibration=CALIBRATION
    )
    with np.load(PUBLIC) as file:
        valence, arousal = derived(PUBLIC).T
        np.savez(folder / "public.npz", **file, valence=valence, arousal=arousal)
    return edgefer.evaluate(bundle, folder / "public.npz")


def row(head: HeadEvaluation, format: str) -> tuple[str, bool]:
    """A row of the table, and whether the artifact lost no more than its bound, or than chance explains."""
    found, drift = head.artifacts[format].metrics, head.artifacts[format].drift
    exact = head.reference
    if drift.accuracy_drop is not None and exact.classes is not None and found.classes is not None:
        what, before, after = "top-1, %", 100 * exact.classes.accuracy, 100 * found.classes.accuracy
        lost, ci95, digits, bound = drift.accuracy_drop.points, drift.accuracy_drop.ci95, 1, ACCURACY_BOUND
    else:
        assert drift.ccc_drop is not None and exact.values is not None and found.values is not None
        what, before, after = "mean CCC", exact.values.mean_ccc or 0.0, found.values.mean_ccc or 0.0
        lost, ci95, digits, bound = drift.ccc_drop.value, drift.ccc_drop.ci95, 3, CCC_BOUND
    interval = "" if ci95 is None else f"{ci95[0]:.{digits + 1}f} to {ci95[1]:.{digits + 1}f}"
    numbers = f"{before:.{digits}f} | {after:.{digits}f} | {lost:.{digits + 1}f} | {interval}"
    held = lost <= bound or (ci95 is not None and ci95[0] <= 0)
    return f"| {head.name} | {format} | {what} | {numbers} | {drift.sqnr_db or 0.0:.1f} |", held


def main() -> int:
    """Write the table."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation = evaluated(Path(folder))
    rows = [row(head, format) for head in evaluation.all.heads for format in head.artifacts]
    text = (
        "Written by `benchmarks/derived_valence.py`: 3,589 faces of FER2013's public test, whose valence and arousal "
        "are derived from FER+'s votes.\n\n"
        "| head | format | what | float | int8 | drop | 95 % interval | SQNR, dB |\n"
        "|---|---|---|---:|---:|---:|---:|---:|\n"
    )
    RESULT.write_text(signed(text + "".join(f"{line}\n" for line, _ in rows), "emit", "graph", "quantize"), "utf-8")
    print(RESULT.read_text("utf-8"))
    return 0 if all(held for _, held in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
