"""A sweep of 3 networks x 4 options on two emulated boards, whole and interrupted twice: the same table.

    python -m benchmarks.sweep_interrupted [--networks 3] [--options 4] [--folder DIR]

needs what `edgefer board up` needs; takes some minutes on two cores.  Exit code 1 where tables differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measured import signed
from edgefer import board
from edgefer.board import CPUS
from tests.sweeping.sweeps import write_sweep

RESULT = Path(__file__).resolve().parent / "results" / "sweep_interrupted.md"
COUNTS_REPEAT = 0.05
"""Instructions of a frame are counted anew in each sweep; of networks as small as these a percent is noise."""


def main() -> int:
    """Both sweeps, and how their tables differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--options", type=int, default=4, choices=(1, 2, 4))
    parser.add_argument("--folder", type=Path, help="Keep both there; a whole one that is there is taken.")
    asked = parser.parse_args()
    bundles = asked.networks * asked.options
    with tempfile.TemporaryDirectory() as scratch, _boards() as names:
        folder = asked.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        file = write_sweep(folder, names, asked.networks, asked.options)
        whole_code = _sweep(file, folder / "whole").wait()
        shutil.rmtree(folder / "parts", ignore_errors=True)
        stops = (
            ("while networks were converted", signal.SIGINT, max(bundles // 2, 1)),
            ("while boards measured", signal.SIGKILL, 2 * bundles + bundles // 2),
        )
        rows = []
        for what, how, after in stops:
            there, code = _stopped(file, folder / "parts", how, after)
            rows.append(f"| {what}, {how.name} | {there} | {code} |")
        parts_code = _sweep(file, folder / "parts").wait()
        rows.append(f"| not again | {_kept(folder / 'parts')} | {parts_code} |")
        whole, parts = (json.loads((folder / each / "sweep.json").read_text()) for each in ("whole", "parts"))
    counts = _counts(whole)
    same = whole_code == parts_code == 0 and len(counts) == 2 * 2 * bundles and _equal(whole, parts)
    lines = (
        "# A sweep that is interrupted",
        "",
        f"{asked.networks} networks of 16x16 pixels x {asked.options} options on two emulated boards, from one file: "
        f"{bundles} bundles, {len(whole['points'])} artifacts, {len(counts)} measurements. One was never interrupted, "
        f"and ended with {whole_code}. Another one was ended twice, and started again each time:",
        "",
        "| ended | results kept by then | exit code |",
        "|---|---|---|",
        *rows,
        "",
        _verdict(whole, parts),
        "",
    )
    RESULT.write_text(signed("\n".join(lines), "execution", "sweeping"))
    print(RESULT.read_text())
    return 0 if same else 1


def _verdict(whole: Any, parts: Any) -> str:
    equal = _without_counts(whole) == _without_counts(parts)
    return (
        f"Their documents are {'equal' if equal else 'NOT EQUAL'} in everything but instructions per frame, which each "
        f"counted itself: they differ by {100 * _difference(_counts(whole), _counts(parts)):.2f} % at most "
        f"({100 * COUNTS_REPEAT:g} % may be). Which of artifacts that do the same work is on the front, and which is "
        "recommended, follows from the last digits of these counts."
    )


def _equal(whole: Any, parts: Any) -> bool:
    apart = _difference(_counts(whole), _counts(parts))
    return bool(_without_counts(whole) == _without_counts(parts)) and apart <= COUNTS_REPEAT


@contextmanager
def _boards() -> Iterator[list[str]]:
    names = [f"sweep-{cpu.removeprefix('cortex-')}" for cpu in CPUS]
    try:
        for cpu, name in zip(CPUS, names, strict=True):
            board.up(cpu, name)
        yield names
    finally:
        for name in names:
            board.down(name)


def _sweep(file: Path, output: Path) -> subprocess.Popen[bytes]:
    """Ctrl-C interrupts it, even where this runs in the background of a shell, which ignores it."""
    command = [sys.executable, "-m", "edgefer", "sweep", file, "-o", output, "-q"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.Popen(
        command, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )


def _stopped(file: Path, output: Path, how: signal.Signals, after: int) -> tuple[int, int]:
    """How many results were kept when it was ended, at least `after`, and its exit code."""
    process = _sweep(file, output)
    while _kept(output) < after:
        if process.poll() is not None:
            raise SystemExit(f"it ended by itself, with {process.returncode}")
        time.sleep(0.05)
    process.send_signal(how)
    code = process.wait()
    return _kept(output), code


def _kept(output: Path) -> int:
    return sum(not path.name.startswith(".") for path in output.glob("kept/*"))


def _counts(document: Any) -> list[float]:
    return [pace["value"] for point in document["points"] for _, pace in sorted(point["devices"].items())]


def _difference(ones: Sequence[float], others: Sequence[float]) -> float:
    if len(ones) != len(others):
        return float("inf")
    return max(abs(one / other - 1) for one, other in zip(ones, others, strict=True))


def _without_counts(document: Any) -> Any:
    """All but the counts, and what follows from their last digits."""
    points = [
        {key: value for key, value in point.items() if key not in ("devices", "on_front")}
        for point in document["points"]
    ]
    return {**document, "points": points, "recommended": document["recommended"] is not None}


if __name__ == "__main__":
    sys.exit(main())
