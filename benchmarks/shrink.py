"""A trained network under smaller and smaller budgets: by `--shrink`, and by magnitude with the same learning.

    python benchmarks/shrink.py [MODEL] [--budgets 4.0MB,3.2MB,2.4MB] [-o results/shrink.md]

MODEL is `../shared/models/fer_b0.pt` by default.  It is calibrated on `fer2013_calibration.npz`, learns on the faces of
`fer2013_train.npz`, of which no labels are read, and is judged on `fer2013_public.npz`, which decides nothing.
Magnitude takes the channels whose weights are smallest, as pruning commonly does, and is otherwise the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
from measured import signed

import edgefer
from edgefer.cli.convert import SizeType
from edgefer.evaluation.results import Evaluation
from edgefer.graph.groups import Groups
from edgefer.graph.ir import Array
from edgefer.quantize.scales.ranges import Values

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
DATA = SHARED / "data"
RESULT = Path(__file__).parent / "results" / "shrink.md"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=SHARED / "models" / "fer_b0.pt")
    parser.add_argument("--budgets", default="4.0MB,3.2MB,2.4MB")
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    budgets = [SizeType().convert(text, None, None) for text in arguments.budgets.split(",")]
    rows = list(_rows(arguments.model, budgets))
    header = (
        "| way | budget | TFLite | ONNX | parameters | MACs | agreement | top-1 | drop (95 %) | seconds |",
        "|" + "---|" * 10,
    )
    lines = (
        f"{arguments.model.name}, edgefer {version('edgefer')}; TFLite file on `fer2013_public.npz`.",
        "",
        *header,
        *rows,
    )
    arguments.output.write_text(signed("\n".join(lines), "quantize", "shrink"))
    print(arguments.output.read_text())


def _rows(model: Path, budgets: Sequence[int]) -> Iterator[str]:
    yield _row("int8 alone", model, None)
    for budget in budgets:
        yield _row("--shrink", model, budget)
        with patch("edgefer.shrink.shrink.worths", magnitudes):
            yield _row("magnitude", model, budget)


def magnitudes(groups: Groups, heads: Sequence[str], images: Sequence[Array]) -> Values:
    """The sum of squares of all weights that make or read each group, of each layer over its mean."""
    total = np.zeros(groups.count + 1)
    for slot in groups.slots:
        array = np.moveaxis(groups.graph.constants[slot.constant].astype(np.float64), slot.axis, 0)
        squares = np.square(array.reshape(len(array), -1)).sum(axis=1)
        np.add.at(total, slot.groups, squares / max(squares.mean(), 1e-30))
    return total[:-1]


def _row(way: str, model: Path, budget: int | None) -> str:
    options = {} if budget is None else {"budget": budget, "shrink": True, "unlabelled": DATA / "fer2013_train.npz"}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bundle = edgefer.convert(model, Path(folder) / "out", calibration=DATA / "fer2013_calibration.npz", **options)
        seconds = time.monotonic() - begun
        evaluation = edgefer.evaluate(bundle, DATA / "fer2013_public.npz")
        sizes = {artifact.format: artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8"}
        quantization = bundle.manifest["quantization"]
    return _formatted(way, budget, sizes, quantization, evaluation, seconds)


def _formatted(
    way: str,
    budget: int | None,
    sizes: dict[str, int],
    quantization: dict[str, object],
    evaluation: Evaluation,
    seconds: float,
) -> str:
    found = quantization.get("shrunk", {})
    assert isinstance(found, dict)
    head = evaluation.parts[0].main
    result = head.artifacts["tflite"]
    drop = result.drift.accuracy_drop
    assert drop is not None and drop.ci95 is not None
    cells = (
        way,
        "" if budget is None else f"{budget / 1e6:.1f} MB",
        *(f"{sizes[format] / 1e6:.2f} MB" for format in ("tflite", "onnx")),
        f"{int(str(found.get('parameters', quantization['parameters']))) / 1e6:.2f} M",
        f"{found['macs'] / 1e6:.1f} M" if found else "",
        f"{result.drift.agreement.value:.1%}",
        f"{result.metrics.classes.accuracy:.2%}",
        f"{drop.points:+.2f} ({drop.ci95[0]:+.2f} to {drop.ci95[1]:+.2f})",
        f"{seconds:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
