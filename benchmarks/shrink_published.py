"""Published networks over the budget, with seeded weights, by `--shrink` to under 8 MB in both formats.

    python -m benchmarks.shrink_published [NAME ...]

needs torch, and ../shared.  Weights are random, batch norms and answers fitted to faces, and images small where the
network allows it, so that a row tells whether an architecture comes out sound, not how well it knows faces; what is
left is fitted by least squares, and not learned again.  Rows of networks that are not named stay.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch

import edgefer
from benchmarks.measured import signed
from benchmarks.networks import FACES, FITTED, OTHERS, fit
from benchmarks.published_networks import PUBLISHED, seeded
from edgefer.evaluation.results import Evaluation
from edgefer.images import open_images
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network

SIDES = {"dan": 64, "eac": 64, "facenet": 96}
CALIBRATION, EVALUATION = 64, 100
RESULT = Path(__file__).resolve().parent / "results" / "shrink_published.md"
HEADER = (
    "# Published networks under 8 MB\n\n`python -m benchmarks.shrink_published`: seeded weights, batch norms and "
    f"answers fitted to faces, {CALIBRATION} calibration images, {EVALUATION} others to evaluate on; drift is against "
    "the network as it was.  Nothing is learned again.\n\n"
    "| network | image | parameters, M | left, M | TFLite, MB | ONNX, MB | reference, M parameters | SQNR, dB | both "
    "files alike | seconds |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)


def main() -> None:
    """Measure the networks named, or all, and write the table after each."""
    rows = {}
    if RESULT.is_file():
        lines = (line for line in RESULT.read_text("utf-8").splitlines() if line.startswith("| "))
        rows = {name: line for line in lines if (name := line.split("|")[1].strip()) in SIDES}
    for name in sys.argv[1:] or SIDES:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = _row(name, Path(folder))
        print(rows[name], flush=True)
        table = HEADER + "\n".join(rows[known] for known in SIDES if known in rows)
        RESULT.write_text(signed(table, "graph", "shrink"), "utf-8")


def _row(name: str, folder: Path) -> str:
    published, side = PUBLISHED[name], SIDES[name]
    stated: dict[str, Any] = {**published.stated}
    file, module = folder / f"{name}.pt", seeded(published)
    torch.save(published.content(module.state_dict()), file)
    family = load_network(file, spec=stated, arch=published.arch).spec.input
    stated["input"] = {"size": [side, side], "mean": list(family.mean), "std": list(family.std)}
    spec = load_network(file, spec=stated, arch=published.arch).spec
    faces = open_images(FACES)
    pixels = [to_pixels(faces.read(index), spec.input) for index in range(0, len(faces), len(faces) // FITTED)][:FITTED]
    fit(module, torch.cat([torch.from_numpy(normalise(image, spec.input)) for image in pixels]))
    torch.save(published.content(module.state_dict()), file)
    others = np.load(OTHERS)
    np.savez(folder / "others.npz", images=others["images"][:EVALUATION])
    begun = time.monotonic()
    with patch("edgefer.shrink.shrink.find_spec", lambda module: None):  # least squares alone
        options = {"calibration": FACES, "samples": CALIBRATION, "spec": stated, "arch": published.arch}
        bundle = edgefer.convert(file, folder / "out", shrink=True, **options)
    seconds = time.monotonic() - begun
    assert not bundle.over_budget
    return _formatted(name, side, bundle, edgefer.evaluate(bundle, folder / "others.npz"), seconds)


def _formatted(name: str, side: int, bundle: edgefer.Bundle, evaluation: Evaluation, seconds: float) -> str:
    sizes = {artifact.format: artifact.bytes / 1e6 for artifact in bundle.artifacts if artifact.precision == "int8"}
    (reference,) = (artifact for artifact in bundle.artifacts if artifact.is_reference)
    model = onnx.load(bundle.path / reference.file)
    whole = sum(int(np.prod(each.dims)) for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)
    shrunk = bundle.manifest["quantization"]["shrunk"]
    document = evaluation.to_dict()
    drift, cross = document["artifacts"]["tflite"], document["cross_runtime"]
    alike = cross["agreement"] if cross["agreement"] is not None else cross["identical"]
    cells = (
        name,
        f"{side}x{side}",
        f"{shrunk['parameters_before'] / 1e6:.2f}",
        f"{shrunk['parameters'] / 1e6:.2f}",
        *(f"{sizes[format]:.2f}" for format in ("tflite", "onnx")),
        f"{whole / 1e6:.2f}",
        f"{drift['sqnr_db']:.1f}",
        f"{alike:.1%}",
        f"{seconds:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
