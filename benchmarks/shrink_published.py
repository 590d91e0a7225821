"""Published networks over the budget, with seeded weights, by `--shrink` to under 8 MB in both formats.

    python -m benchmarks.shrink_published [NAME ...]

needs torch, and ../shared.  Weights are random, batch norms and answers fitted to faces, and images small where the
network allows it, so that a row tells whether an architecture comes out sound, not how well it knows faces; what is
left is fitted by least squares, and not learned again.  Rows that were measured by the same sources stay.
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
from torch import nn

import edgefer
from benchmarks.brief_training import first
from benchmarks.networks import FACES, OTHERS
from benchmarks.published_networks import PUBLISHED, seeded
from benchmarks.tables import Table
from edgefer.evaluation.results import Evaluation
from edgefer.images import open_images
from edgefer.images.preprocess import normalise, to_pixels
from edgefer.networks.families import load_network

SIDES = {"dan": 64, "eac": 64, "facenet": 96}
CALIBRATION, EVALUATION, FITTED = 64, 100, 64
SPREAD = 3.0
"""Standard deviation that answers are scaled to."""
MOST_CLASSES = 10
GAINS = 0.8, 1.2
"""Of batch norms: with smaller ones, what tells images apart is lost from layer to layer."""
RESULT = Path(__file__).resolve().parent / "results" / "shrink_published.md"
TEXT = (
    "# Published networks under 8 MB\n\n`python -m benchmarks.shrink_published`: seeded weights, batch norms and "
    f"answers fitted to faces, {CALIBRATION} calibration images, {EVALUATION} others to evaluate on; drift is against "
    "the network as it was.  Nothing is learned again."
)
COLUMNS = {"network": "l", "image": "l"} | dict.fromkeys(
    (
        "parameters, M",
        "left, M",
        "TFLite, MB",
        "ONNX, MB",
        "reference, M parameters",
        "SQNR, dB",
        "both files alike",
        "seconds",
    ),
    "r",
)


def main() -> None:
    """Measure the networks named, or all, and write the table after each."""
    table = Table(RESULT, TEXT, COLUMNS, ("graph", "shrink"))
    for name in sys.argv[1:] or SIDES:
        with tempfile.TemporaryDirectory() as folder:
            table.add(name, *_figures(name, Path(folder)))


def _figures(name: str, folder: Path) -> tuple[str, ...]:
    published, side = PUBLISHED[name], SIDES[name]
    stated: dict[str, Any] = {**published.stated}
    file, module = folder / f"{name}.pt", seeded(published)
    torch.save(published.content(module.state_dict()), file)
    family = load_network(file, spec=stated, arch=published.arch).spec.input
    stated["input"] = {"size": [side, side], "mean": list(family.mean), "std": list(family.std)}
    spec = load_network(file, spec=stated, arch=published.arch).spec
    faces = open_images(FACES)
    pixels = [to_pixels(faces.read(index), spec.input) for index in range(0, len(faces), len(faces) // FITTED)][:FITTED]
    _fit(module, torch.cat([torch.from_numpy(normalise(image, spec.input)) for image in pixels]))
    torch.save(published.content(module.state_dict()), file)
    others = np.load(OTHERS)
    np.savez(folder / "others.npz", images=others["images"][:EVALUATION])
    begun = time.monotonic()
    with patch("edgefer.shrink.shrink.find_spec", lambda module: None):  # least squares alone
        options = {"calibration": FACES, "samples": CALIBRATION, "spec": stated, "arch": published.arch}
        bundle = edgefer.convert(file, folder / "out", shrink=True, **options)
    seconds = time.monotonic() - begun
    assert not bundle.over_budget
    return _formatted(side, bundle, edgefer.evaluate(bundle, folder / "others.npz"), seconds)


def _fit(module: nn.Module, images: torch.Tensor) -> None:
    """Give batch norms the statistics of images, and answers that tell the images apart.

    What a random layer answers hardly depends on the image; what is left of that, amplified, would be noise for every
    quantizer.  So the last layer reads what differs most between images, as a trained one does: the principal
    components of its input, each of the same spread, turned at random.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        nn.init.uniform_(layer.weight, *GAINS)
        layer.momentum = None
        layer.train()
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in images.split(8):
            module(batch)
        module.eval()
        if last.bias is None or len(last.weight) > MOST_CLASSES:
            return
        watching = last.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        answers = first(module(images))
        watching.remove()
        (features,) = seen
        if isinstance(last, nn.Linear) and features.shape == (len(images), last.in_features):
            _, spreads, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
            count = len(last.weight) - 1
            turned = torch.linalg.qr(torch.randn(count + 1, count))[0]
            last.weight.copy_(turned / spreads[:count] @ axes[:count] * len(images) ** 0.5 * SPREAD)
            last.bias.copy_(-last.weight @ features.mean(0))
        else:
            factor = SPREAD / answers.std(0).mean()
            last.weight *= factor
            last.bias.copy_(factor * (last.bias - answers.mean(0)))


def _formatted(side: int, bundle: edgefer.Bundle, evaluation: Evaluation, seconds: float) -> tuple[str, ...]:
    sizes = {artifact.format: artifact.bytes / 1e6 for artifact in bundle.artifacts if artifact.precision == "int8"}
    (reference,) = (artifact for artifact in bundle.artifacts if artifact.is_reference)
    model = onnx.load(bundle.path / reference.file)
    whole = sum(int(np.prod(each.dims)) for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)
    shrunk = bundle.manifest["quantization"]["shrunk"]
    document = evaluation.to_dict()
    drift, cross = document["artifacts"]["tflite"], document["cross_runtime"]
    alike = cross["agreement"] if cross["agreement"] is not None else cross["identical"]
    return (
        f"{side}x{side}",
        f"{shrunk['parameters_before'] / 1e6:.2f}",
        f"{shrunk['parameters'] / 1e6:.2f}",
        *(f"{sizes[format]:.2f}" for format in ("tflite", "onnx")),
        f"{whole / 1e6:.2f}",
        f"{drift['sqnr_db']:.1f}",
        f"{alike:.1%}",
        f"{seconds:.0f}",
    )


if __name__ == "__main__":
    main()
