"""fer_b0 in fewer ARM instructions, by `--shrink --max-latency`: counted on an emulated A76, and judged beside float.

    python -m benchmarks.shrink_latency RUNS [--bound 0.686x@pi5] [--effort best]

needs torch, ../shared, and what `edgefer board` needs.  It is calibrated on `fer2013_calibration.npz`, learns on the
faces of `fer2013_train.npz`, whose labels are not read, and is judged on `fer2013_public.npz`, which decides nothing.
Bundles are kept in RUNS: `whole`, by default options, and `shrunk`; those that are there are judged as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import edgefer
from benchmarks.measured import signed
from benchmarks.shrink import DATA, SHARED
from edgefer import board
from edgefer.bundle import Bundle
from edgefer.cli.output import ConsoleProgress
from edgefer.device import Session, find_device
from edgefer.device.operator_costs import instructions

MODEL = SHARED / "models" / "fer_b0.pt"
RESULT = Path(__file__).parent / "results" / "shrink_latency.md"
BOARD = "cortex-a76"


def main() -> None:
    """Convert what is not there yet, count, judge and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--bound", default="0.686x@pi5")
    parser.add_argument("--effort", default="best")
    arguments = parser.parse_args()
    options = {"target": "pi5", "max_latency": arguments.bound, "shrink": True, "effort": arguments.effort}
    bundles = {
        "default options": _bundle(arguments.runs / "whole"),
        f"--shrink --max-latency {arguments.bound}": _bundle(
            arguments.runs / "shrunk", unlabelled=DATA / "fer2013_train.npz", **options
        ),
    }
    files = [bundle.artifact("tflite", "int8").read_bytes() for bundle in bundles.values()]
    counts = _counted(files)
    lines = [
        "# fer_b0 in fewer instructions",
        "",
        f"`python -m benchmarks.shrink_latency RUNS`: `--target pi5 --effort {arguments.effort}`, learned on faces",
        f"without labels; int8 TFLite, instructions of an inference on an emulated {BOARD}; judged on",
        "`fer2013_public.npz`.",
        "",
        "| options | instructions | over default | bytes | agreement, % (95 %) | drop, points (95 %) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for (name, bundle), file, count in zip(bundles.items(), files, counts, strict=True):
        cells = [f"{count / 1e6:.3f} M", f"{count / counts[0]:.3f}", f"{len(file):,}", *_judged(bundle)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    RESULT.write_text(signed("\n".join([*lines, ""]), "quantize", "shrink"), "utf-8")
    print(RESULT.read_text("utf-8"))


def _bundle(path: Path, **options: Any) -> Bundle:
    if path.exists():
        return Bundle.open(path)
    progress = ConsoleProgress(quiet=False, verbose=False)
    return edgefer.convert(MODEL, path, calibration=DATA / "fer2013_calibration.npz", progress=progress, **options)


def _counted(files: list[bytes]) -> list[float]:
    """Instructions of an inference of each TFLite file."""
    there = board.up(BOARD, "shrink-latency")
    try:
        with Session(find_device(there.name)) as session:
            return [count for (count,) in instructions(session, [[file] for file in files])]
    finally:
        board.down(there.name)


def _judged(bundle: Bundle) -> tuple[str, str]:
    drift = edgefer.evaluate(bundle, DATA / "fer2013_public.npz").parts[0].main.artifacts["tflite"].drift
    agreement, drop = drift.agreement, drift.accuracy_drop
    assert agreement is not None and agreement.ci95 is not None and drop is not None and drop.ci95 is not None
    shown = [100 * value for value in (agreement.value, *agreement.ci95)]
    return (
        f"{shown[0]:.1f} ({shown[1]:.1f} to {shown[2]:.1f})",
        f"{drop.points:+.2f} ({drop.ci95[0]:+.2f} to {drop.ci95[1]:+.2f})",
    )


if __name__ == "__main__":
    main()
