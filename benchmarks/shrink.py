"""A trained network under smaller and smaller budgets: by `--shrink`, by magnitude, and made narrower everywhere.

    python -m benchmarks.shrink [MODEL] [--budgets 8.0MB,4.0MB] [--effort fast] [-o results/shrink.md]

MODEL is `../shared/models/fer_b0.pt` by default; `python -m benchmarks.train_fer RUN --network resnet18 --epochs 12@64`
trains a larger one.  It is calibrated on `fer2013_calibration.npz`, learns on the faces of `fer2013_train.npz`, whose
labels are not read, and is judged on `fer2013_public.npz`, which decides nothing.  Magnitude takes the channels whose
weights are smallest, as pruning commonly does; a narrower network loses the same share of each layer, those of least
magnitude.  Both are fitted and learned again as long, and on the same images, but lose channels alone, where `--shrink`
has layers of low rank and plainer kernels, too.  Rows that were measured by the same sources stay.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import edgefer
from benchmarks.tables import Table
from edgefer.cli.convert import SizeType
from edgefer.cli.output import ConsoleProgress
from edgefer.evaluation.results import Evaluation
from edgefer.graph.groups import Chosen, Groups
from edgefer.graph.ir import Array
from edgefer.quantize.scales.ranges import Values
from edgefer.shrink.remove import Measure

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
DATA = SHARED / "data"
RESULT = Path(__file__).parent / "results" / "shrink.md"
COLUMNS = {"way": "l", "budget": "l"} | dict.fromkeys(
    ("TFLite", "ONNX", "parameters", "MACs", "agreement", "top-1", "drop (95 %)", "seconds"), "r"
)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=SHARED / "models" / "fer_b0.pt")
    parser.add_argument("--budgets", default="4.0MB,3.2MB,2.4MB")
    parser.add_argument("--ways", default=",".join((PLAIN, *WAYS)))
    parser.add_argument("--effort", default="fast")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    budgets = [SizeType().convert(text, None, None) for text in arguments.budgets.split(",")]
    text = (
        f"`{arguments.model.name}`, `--effort {arguments.effort}`, edgefer {version('edgefer')}; TFLite file on "
        "`fer2013_public.npz`; seconds are on two cores that do other things too."
    )
    table = Table(arguments.output, text, COLUMNS, ("quantize", "shrink"), named_by=2)
    cases = [(way, budget) for budget in budgets for way in arguments.ways.split(",") if way != PLAIN]
    for way, budget in [(PLAIN, None)] * (PLAIN in arguments.ways) + cases:
        if not table.has(*(named := (way, "" if budget is None else f"{budget / 1e6:.1f} MB"))):
            table.add(*named, *_figures(way, arguments.model, budget, arguments.effort))


def magnitudes(groups: Groups, heads: Sequence[str], images: Sequence[Array]) -> Values:
    """The sum of squares of all weights that make or read each group, of each layer over its mean."""
    total = np.zeros(groups.count + 1)
    for slot in groups.slots:
        array = np.moveaxis(groups.graph.constants[slot.constant].astype(np.float64), slot.axis, 0)
        squares = np.square(array.reshape(len(array), -1)).sum(axis=1)
        np.add.at(total, slot.groups, squares / max(squares.mean(), 1e-30))
    return total[:-1]


def narrower(groups: Groups, worth: Values, measure: Measure, target: float) -> Chosen:
    """The same share of each family of groups, those of least worth, so that what is left takes `target`."""
    each, left = measure.each(groups), measure.of(groups.graph)
    ranked = [family[np.argsort(worth[family], kind="stable")] for family in groups.families]
    gone = np.zeros(groups.count, bool)
    for share in np.arange(0.005, 0.9, 0.005):
        for family in ranked:
            gone[family[: int(share * len(family))]] = True
        if left - each[gone].sum() <= target:
            break
    return gone


PLAIN = "int8 alone"
_BY_CHANNELS: Mapping[str, Any] = {
    "edgefer.shrink.learning.worths": magnitudes,
    "edgefer.shrink.lighter.plainly": lambda graph, *_: (graph, 0),
    "edgefer.shrink.lighter.through_fewer": lambda *_: None,
}
"""Nothing but channels goes, by magnitude: no layers of low rank, no plainer kernels."""

WAYS: Mapping[str, Mapping[str, Any]] = {
    "--shrink": {},
    "magnitude": {**_BY_CHANNELS, "edgefer.shrink.shrink._VERSION": "magnitude"},
    "narrower everywhere": {
        **_BY_CHANNELS,
        "edgefer.shrink.lighter.chosen": narrower,
        "edgefer.shrink.shrink._VERSION": "narrower",
    },
}
"""How channels are chosen, by what stands in for edgefer's own way; each goes on with what it had begun itself."""


def _figures(way: str, model: Path, budget: int | None, effort: str) -> tuple[str, ...]:
    options: dict[str, Any] = {"effort": effort, "spec": _spec(model)}
    if budget is not None:
        options |= {"budget": budget, "shrink": True, "unlabelled": DATA / "fer2013_train.npz"}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for name, instead in WAYS.get(way, {}).items():
            patches.enter_context(patch(name, instead))
        bundle = edgefer.convert(
            model,
            Path(folder) / "out",
            calibration=DATA / "fer2013_calibration.npz",
            progress=ConsoleProgress(quiet=False, verbose=False),
            **options,
        )
        seconds = time.monotonic() - begun
        evaluation = edgefer.evaluate(bundle, DATA / "fer2013_public.npz")
        sizes = {artifact.format: artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8"}
        quantization = bundle.manifest["quantization"]
    return _formatted(sizes, quantization, evaluation, seconds)


def _spec(model: Path) -> dict[str, Any]:
    """What a checkpoint of `train_fer` says of itself; nothing where it has a Spec beside it."""
    if model.with_suffix(".spec.toml").exists():
        return {}
    stored = torch.load(model, map_location="cpu", weights_only=True)
    labels = {"labels": list(stored["label_names"]), "kind": "expression", "activation": "softmax"}
    image = {"size": [stored["input_size"]] * 2, "mean": list(stored["mean"]), "std": list(stored["std"])}
    return {"input": image, "outputs": [{"name": "expression", "columns": [0, len(stored["label_names"])], **labels}]}


def _formatted(
    sizes: dict[str, int], quantization: dict[str, object], evaluation: Evaluation, seconds: float
) -> tuple[str, ...]:
    found = quantization.get("shrunk", {})
    assert isinstance(found, dict)
    head = evaluation.parts[0].main
    result = head.artifacts["tflite"]
    drop = result.drift.accuracy_drop
    assert drop is not None and drop.ci95 is not None
    return (
        *(f"{sizes[format] / 1e6:.2f} MB" for format in ("tflite", "onnx")),
        f"{int(str(found.get('parameters', quantization['parameters']))) / 1e6:.2f} M",
        f"{found['macs'] / 1e6:.1f} M" if found else "",
        f"{result.drift.agreement.value:.1%}",
        f"{result.metrics.classes.accuracy:.2%}",
        f"{drop.points:+.2f} ({drop.ci95[0]:+.2f} to {drop.ci95[1]:+.2f})",
        f"{seconds:.0f}",
    )


if __name__ == "__main__":
    main()
