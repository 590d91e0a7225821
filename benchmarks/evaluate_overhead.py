"""What `edgefer evaluate` takes beyond the inference itself.

    python benchmarks/evaluate_overhead.py

needs ../shared; takes about a minute.  Exit code 1 where the bound does not hold.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measured import signed

import edgefer
from edgefer.bundle import Bundle
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.runtime.runners import Pixels, Runner, open_runner

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
FACES = SHARED / "data" / "fer2013_public.npz"
RESULT = ROOT / "benchmarks" / "results" / "evaluate_overhead.md"
BOUND = 1.3
ROUNDS = 3


def main() -> int:
    """Measure in turns, write the table, and return 1 if the bound does not hold."""
    parser = argparse.ArgumentParser(description="Compare evaluating fer_b0 on 3,589 images with pure inference.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    parser.add_argument("--bundle", type=Path, help="a bundle of fer_b0; made first by default")
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        os.environ["EDGEFER_HOME"] = scratch
        bundle = Bundle.open(options.bundle) if options.bundle else _convert(Path(scratch))
        pixels = list(iter_pixels(open_images(FACES), bundle.spec.input))
        rounds = [(inference(bundle, pixels, workers), evaluation(bundle)) for _ in range(ROUNDS)]
    ratio = sorted(evaluated / inferred for inferred, evaluated in rounds)[ROUNDS // 2]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        signed("\n".join(render(rounds, ratio, len(pixels), workers)), "evaluation", "runtime"), "utf-8"
    )
    print(options.output.read_text("utf-8"))
    return 0 if ratio <= BOUND else 1


def inference(bundle: Bundle, pixels: Sequence[Pixels], workers: int) -> float:
    """Seconds that the three runtimes take for images already resized, shared out among as many threads."""
    sets = [[open_runner(bundle.path / a.file, a.format) for a in bundle.artifacts] for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(lambda worker: _run(sets[worker], pixels[worker::workers]), range(workers)))
        return time.perf_counter() - start


def evaluation(bundle: Bundle) -> float:
    """Seconds of the whole command, from a cold start: imports, reading, statistics, layers and files included."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "edgefer",
        "evaluate",
        bundle.path,
        "--data",
        FACES,
        "-q",
        "--max-drop",
        "100",
    ]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        start = time.perf_counter()
        subprocess.run([*command, "--json", file.name], check=True)
        return time.perf_counter() - start


def render(rounds: Sequence[tuple[float, float]], ratio: float, images: int, workers: int) -> Iterator[str]:
    """The table."""
    yield f"# `edgefer evaluate` beside pure inference: {images:,} images, {workers} threads"
    yield ""
    yield "| round | inference of the three, s | `edgefer evaluate`, s | ratio |"
    yield "|---:|---:|---:|---:|"
    for number, (inferred, evaluated) in enumerate(rounds, 1):
        yield f"| {number} | {inferred:.1f} | {evaluated:.1f} | {evaluated / inferred:.2f} |"
    yield ""
    yield f"Median ratio **{ratio:.2f}**; bound {BOUND}: {'held' if ratio <= BOUND else 'not held'}."
    yield ""


def _convert(folder: Path) -> Bundle:
    return edgefer.convert(
        SHARED / "models" / "fer_b0.onnx",
        folder / "fer_b0_bundle",
        calibration=SHARED / "data" / "fer2013_calibration.npz",
    )


def _run(runners: Sequence[Runner], pixels: Sequence[Pixels]) -> None:
    for image in pixels:
        for runner in runners:
            runner(image)


if __name__ == "__main__":
    sys.exit(main())
