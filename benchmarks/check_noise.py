"""Noise alone never fails `edgefer check`: the same bundle, timed again and again on this machine.

    python benchmarks/check_noise.py

needs ../shared; takes some minutes.  Exit code 1 where a repetition fails a gate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import edgefer
from edgefer.bundle import Bundle
from edgefer.device.results import Benchmark, Settings
from edgefer.device.verdict import Verdict
from edgefer.gates import Check
from edgefer.gates.outputs import WORDS
from edgefer.gates.results import Outcome

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
RESULT = ROOT / "benchmarks" / "results" / "check_noise.md"
SETTINGS = Settings(frames=1024, seconds=2)
ACCEPTED = 3
REPETITIONS = 20


def main() -> int:
    """Accept a bundle, check it again and again, write the table, and return 1 if a gate failed."""
    parser = argparse.ArgumentParser(description="Check one bundle against its own baseline, 20 times.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    parser.add_argument("--bundle", type=Path, help="a bundle of fer_b0; made first by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        os.environ["EDGEFER_HOME"] = scratch
        bundle = Bundle.open(options.bundle) if options.bundle else _convert(Path(scratch))
        baseline = Path(scratch) / "baseline.json"
        runs = [timed(bundle) for _ in range(ACCEPTED + REPETITIONS)]
        checks = {}
        for name, judged in (("as they are", runs), ("taken as trusted", [trusted(run) for run in runs])):
            baseline.write_text(edgefer.check(bundle, benchmarks=judged[:ACCEPTED]).baseline, "utf-8")
            checks[name] = [edgefer.check(bundle, baseline, benchmarks=[run]) for run in judged[ACCEPTED:]]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(render(runs, checks)), "utf-8")
    print(options.output.read_text("utf-8"))
    return 1 if any("fail" in latencies(check) for check in checks["as they are"]) else 0


def timed(bundle: Bundle) -> Benchmark:
    """One run of both int8 artifacts on this machine."""
    return edgefer.benchmark(bundle, formats=("tflite", "onnx"), settings=SETTINGS)


def trusted(run: Benchmark) -> Benchmark:
    """The same times, as if nothing had disturbed them: harder on the statistics."""
    return replace(run, runs=tuple(replace(one, verdict=Verdict("trusted", ())) for one in run.runs))


def latencies(check: Check) -> list[Outcome]:
    """Outcomes of the decisions on latency."""
    return [decision.outcome for decision in check.decisions if decision.metric.startswith("latency")]


def render(runs: Sequence[Benchmark], checks: Mapping[str, Sequence[Check]]) -> Iterator[str]:
    """The table."""
    yield f"# The same bundle, checked {REPETITIONS} times"
    yield ""
    yield f"fer_b0 on this machine, which others use meanwhile; {SETTINGS.frames:,} frames or more per run. The first"
    yield f"{ACCEPTED} runs are the baseline; each later one is checked against it by the default gates: p50 at most"
    yield "10 % more, p90 at most 25 %, for two artifacts. `edgefer benchmark` marks disturbed runs as noisy, which are"
    yield "no evidence; the last column judges all runs as if they were trusted, to show what that verdict is worth."
    yield ""
    yield f"| run | p50 TFLite, ms | p50 ONNX, ms | verdict on the run | {' | '.join(checks)} |"
    yield f"|---|---:|---:|---|{'---|' * len(checks)}"
    for number, run in enumerate(runs):
        verdict = run.runs[0].verdict.status
        found = [
            _counted([check[number - ACCEPTED]]) if number >= ACCEPTED else "baseline" for check in checks.values()
        ]
        yield f"| {number + 1} | {' | '.join(medians(run))} | {verdict} | {' | '.join(found)} |"
    yield ""
    for name, found in checks.items():
        failed = sum("fail" in latencies(check) for check in found)
        yield f"Runs {name}: **{failed} of {len(found)} failed**; decisions: {_counted(found)}."
        yield ""


def _counted(checks: Sequence[Check]) -> str:
    counts = Counter(outcome for check in checks for outcome in latencies(check))
    return ", ".join(f"{counts[outcome]} {word}" for outcome, word in WORDS.items() if counts[outcome])


def medians(run: Benchmark) -> list[str]:
    """Median ms of the TFLite and the ONNX artifact."""
    by_format = {a.artifact.format: a.timing.invoke.p50 for a in run.runs[0].artifacts.values()}
    return [f"{by_format[format]:.3f}" for format in ("tflite", "onnx")]


def _convert(folder: Path) -> Bundle:
    return edgefer.convert(
        SHARED / "models" / "fer_b0.onnx",
        folder / "fer_b0_bundle",
        calibration=SHARED / "data" / "fer2013_calibration.npz",
    )


if __name__ == "__main__":
    sys.exit(main())
