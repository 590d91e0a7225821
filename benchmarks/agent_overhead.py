"""What the agent of `edgefer benchmark` adds to the time of an inference, and what it does between frames.

    python benchmarks/agent_overhead.py

takes about a minute.  Exit code 1 where the bound does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import signed

import edgefer
from edgefer.bundle import Bundle
from edgefer.device import Session, find_device
from edgefer.device.workload import prepare
from edgefer.host.progress import SILENT
from edgefer.runtime.runners import tflite_interpreter

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "agent_overhead.md"
BOUND = 0.02
ROUNDS = 7
FRAMES = 2000


@dataclass(frozen=True)
class Round:
    """Medians of one round.

    Attributes:
        own: LiteRT's own time of an inference, ms: a loop that does nothing but invoke and read the clock.
        agent: what the agent says an inference takes, ms.
        between: what the agent spends on a frame beside preprocessing, inference and postprocessing, ms.
    """

    own: float
    agent: float
    between: float


def main() -> int:
    """Measure in turns, write the table, and return 1 if the bound does not hold."""
    parser = argparse.ArgumentParser(description="Compare the agent's times of fer_b0 with LiteRT's own.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    parser.add_argument("--bundle", type=Path, help="a bundle of fer_b0; made first by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        bundle = Bundle.open(options.bundle) if options.bundle else edgefer.convert(output=Path(scratch) / "fer_b0")
        rounds = measure(bundle)
    share = sorted(found.between / found.own for found in rounds)[ROUNDS // 2]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(signed("\n".join(render(rounds, share)), "device"), "utf-8")
    print(options.output.read_text("utf-8"))
    return 0 if share <= BOUND else 1


def measure(bundle: Bundle) -> list[Round]:
    """Rounds of both, one after the other, on one thread."""
    workload = prepare(bundle, None, 1, ["tflite"], SILENT)
    model = bundle.artifact("tflite")
    rounds = []
    with Session(find_device("local")) as session:
        paths = {name: session.push(data) for name, data in workload.inputs.items()}
        paths["model"] = session.push(model.read_bytes())
        for _ in range(ROUNDS):
            own = litert(model)
            settings = {"threads": 1, "frames": FRAMES, "seconds": 0.0, "warmup": 50, "fps": None, "outputs": False}
            found = session.request("measure", paths=paths, format="tflite", **settings)
            parts = np.array([found[f"{part}_ns"] for part in ("preprocess", "invoke", "postprocess")]) / 1e6
            between = (found["duration_ns"] / 1e6 - parts.sum()) / FRAMES
            rounds.append(Round(own, float(np.median(parts[1])), float(between)))
    return rounds


def litert(model: Path) -> float:
    """Median milliseconds of an inference where nothing else is done."""
    interpreter = tflite_interpreter(model)
    clock = time.perf_counter_ns
    times = []
    for _ in range(FRAMES + 50):
        start = clock()
        interpreter.invoke()
        times.append(clock() - start)
    return float(np.median(times[50:])) / 1e6


def render(rounds: Sequence[Round], share: float) -> Iterator[str]:
    """The table."""
    yield f"# The agent's own time beside an inference: fer_b0, TFLite int8, {FRAMES:,} frames a round, one thread"
    yield ""
    yield "| round | LiteRT alone, ms | the agent's inference, ms | ratio | between the parts of a frame, ms | share |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for number, found in enumerate(rounds, 1):
        yield (
            f"| {number} | {found.own:.4f} | {found.agent:.4f} | {found.agent / found.own:.3f} | {found.between:.4f} "
            f"| {100 * found.between / found.own:.2f} % |"
        )
    ratio = float(np.median([found.agent / found.own for found in rounds]))
    yield ""
    yield (
        f"Median share **{100 * share:.2f} %**; bound {100 * BOUND:.0f} %: {'held' if share <= BOUND else 'not held'}. "
        f"An inference between preprocessing and postprocessing takes {ratio:.3f} times what one takes in a loop that "
        "does nothing else: its caches are those of an app."
    )
    yield ""


if __name__ == "__main__":
    sys.exit(main())
