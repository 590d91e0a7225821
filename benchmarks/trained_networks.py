"""Networks that `benchmarks.train_fer` trained on FER2013: what int8 costs them in answers, and saves in time.

    python -m benchmarks.train_fer RUNS/mobilenetv3_large_100 --network mobilenetv3_large_100 --epochs 12@64
    python -m benchmarks.trained_networks RUNS/mobilenetv3_large_100 ...

converts each RUN's `network.onnx` with `edgefer convert` by default options (but for a budget, so that it is int8
that is judged), evaluates it on FER2013's public test, and times its files in turns on one thread.  Rows of other
networks stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgefer
from benchmarks.judge import beside_float
from benchmarks.measured import signed
from edgefer.host.files import write_whole
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.networks.families import load_network

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CALIBRATION, JUDGED = DATA / "fer2013_calibration.npz", DATA / "fer2013_public.npz"
RESULT = Path(__file__).resolve().parent / "results" / "trained_networks.md"
UNBOUNDED = 10**9

LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
SPEC = {
    "input": {"size": [64, 64], "mean": [0.5] * 3, "std": [0.5] * 3},
    "outputs": [
        {"name": "expression", "kind": "expression", "activation": "softmax", "labels": LABELS, "columns": [0, 7]}
    ],
}
"""The head that answers FER2013's question."""

BOUNDS = {"agreement": 0.97, "drop": 0.3, "tflite": 0.60, "onnx": 0.80}
STRICTER = {
    "mobilevit_xxs": {"agreement": 0.96},
    "mobilenetv3_large_100": {"tflite": 0.55},
    "mobilefacenet": {"tflite": 0.55},
}
"""Of some networks, other bounds than `BOUNDS`."""

HEADER = (
    "| network | float top-1, % | format | bytes | agreement, % | drop, points (95 %) | SQNR, dB | time, x float "
    "| both alike, % | bounds |\n"
    "|---|---:|---|---:|---:|---:|---:|---:|---:|---|\n"
)
NOTE = """# Trained networks in int8

`python -m benchmarks.trained_networks`: networks trained on FER2013's train file at 64x64 by `benchmarks.train_fer`,
from nothing, twelve epochs (MobileFaceNet six); `edgefer convert` with 490 calibration images and default options but
for the budget; 3,589 images of the public test.  Time: one thread, batch 1, files in turns, float and int8 in the same
runtime, median of the rounds' ratios.

"""


def measure(run: Path, folder: Path) -> dict[str, Any]:
    """Convert, evaluate and time one network."""
    file = run / "network.onnx"
    network = load_network(file, spec=SPEC)
    bundle = edgefer.convert(file, folder / "bundle", spec=SPEC, calibration=CALIBRATION, budget=UNBOUNDED)
    found = edgefer.evaluate(bundle, JUDGED).to_dict()
    times = beside_float(bundle, network, next(iter_pixels(open_images(JUDGED), network.spec.input)), folder)
    sizes = {artifact.format: artifact.bytes for artifact in bundle.artifacts if artifact.precision == "int8"}
    return {
        "accuracy": found["reference"]["accuracy"],
        "alike": found["cross_runtime"]["agreement"],
        "formats": {
            format: {
                "bytes": sizes[format],
                "agreement": found["artifacts"][format]["agreement"]["value"],
                "drop": found["artifacts"][format]["accuracy_drop"],
                "sqnr_db": found["artifacts"][format]["sqnr_db"],
                "time": times[format].ratio,
            }
            for format in ("tflite", "onnx")
        },
    }


def lines(name: str, row: Mapping[str, Any]) -> str:
    """Of the table."""
    bounds = {**BOUNDS, **STRICTER.get(name, {})}
    text = ""
    for format, found in row["formats"].items():
        drop, (low, high) = found["drop"]["points"], found["drop"]["ci95"]
        broken = [
            *(["agreement"] if found["agreement"] < bounds["agreement"] else []),
            *(["drop"] if drop > bounds["drop"] and low > 0 else []),
            *(["time"] if found["time"] > bounds[format] else []),
        ]
        cells = [
            *(name, f"{100 * row['accuracy']:.1f}", format, f"{found['bytes']:,}", f"{100 * found['agreement']:.1f}"),
            *(f"{drop:+.2f} ({low:+.2f} to {high:+.2f})", f"{found['sqnr_db']:.1f}", f"{found['time']:.2f}"),
            *(f"{100 * row['alike']:.2f}", f"{' and '.join(broken)} missed" if broken else "hold"),
        ]
        text += f"| {' | '.join(cells)} |\n"
    return text


def main() -> None:
    """Measure the networks of the runs named, and write the table after each."""
    file = RESULT.with_suffix(".json")
    known = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    for run in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            known[run.name] = measure(run, Path(folder))
        print(lines(run.name, known[run.name]), end="", flush=True)
        write_whole(file, json.dumps(known, indent=1) + "\n")
        table = NOTE + HEADER + "".join(lines(name, row) for name, row in known.items())
        write_whole(RESULT, signed(table, "emit", "graph", "quantize"))


if __name__ == "__main__":
    main()
