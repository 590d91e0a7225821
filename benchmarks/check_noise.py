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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from measured import signed

import edgefer
from edgefer.bundle import Bundle
from edgefer.device.results import Benchmark, Settings
from edgefer.device.verdict import Verdict
from edgefer.gates.formats import WORDS
from edgefer.gates.results import Check, Outcome

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
RESULT = ROOT / "benchmarks" / "results" / "check_noise.md"
SETTINGS = Settings(frames=1024, seconds=1)
ACCEPTED = 3
REPETITIONS = 20
TRIES = 80
"""On a busy machine most runs are noisy; after so many the trusted ones are counted, however few."""


@dataclass(frozen=True)
class Series:
    """Runs of one artifact, each checked against the first trusted ones.

    Attributes:
        format: of the artifact.
        accepted: the baseline's runs.
        trusted: checks of the other runs that are evidence.
        forced: checks of the noisy runs, taken as trusted.
        runs: all.
    """

    format: str
    accepted: Sequence[Benchmark]
    trusted: Sequence[Check]
    forced: Sequence[Check]
    runs: Sequence[Benchmark]


def main() -> int:
    """Accept a bundle, check it again and again, write the table, and return 1 if a gate failed."""
    parser = argparse.ArgumentParser(description="Check one bundle against its own baseline, 20 times and more.")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="Markdown file to write")
    parser.add_argument("--bundle", type=Path, help="a bundle of fer_b0; made first by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefer-benchmark-") as scratch:
        os.environ["EDGEFER_HOME"] = scratch
        bundle = Bundle.open(options.bundle) if options.bundle else _convert(Path(scratch))
        found = [series(bundle, format, Path(scratch) / "baseline.json") for format in ("tflite", "onnx")]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(signed("\n".join(render(found)), "device", "gates"), "utf-8")
    print(options.output.read_text("utf-8"))
    return 1 if any(failed(one.trusted) for one in found) else 0


def series(bundle: Bundle, format: str, baseline: Path) -> Series:
    """Run until enough runs are trusted."""
    runs = run_until_trusted(bundle, ACCEPTED + REPETITIONS, (format,))
    accepted = (sorted(runs, key=lambda run: not run.trusted))[:ACCEPTED]
    baseline.write_text(edgefer.check(bundle, benchmarks=[taken_as_trusted(run) for run in accepted]).baseline, "utf-8")
    checks: dict[bool, list[Check]] = {True: [], False: []}
    for run in runs:
        if run not in accepted:
            checks[run.trusted].append(edgefer.check(bundle, baseline, benchmarks=[taken_as_trusted(run)]))
    return Series(format, accepted, checks[True], checks[False], runs)


def run_until_trusted(bundle: Bundle, count: int, formats: Sequence[str]) -> list[Benchmark]:
    """Runs of int8 artifacts on this machine, until so many are trusted, or `TRIES` at most."""
    runs: list[Benchmark] = []
    while len(runs) < TRIES and sum(run.trusted for run in runs) < count:
        runs.append(edgefer.benchmark(bundle, formats=formats, settings=SETTINGS))
    return runs


def taken_as_trusted(run: Benchmark) -> Benchmark:
    """The same times, as if nothing had disturbed them: harder on the statistics."""
    return replace(run, runs=tuple(replace(one, verdict=Verdict("trusted", ())) for one in run.runs))


def failed(checks: Sequence[Check]) -> int:
    """How many failed for a time."""
    return sum("fail" in _latencies(check) for check in checks)


def render(found: Sequence[Series]) -> Iterator[str]:
    """The table."""
    yield "# The same bundle, checked again and again"
    yield ""
    yield f"fer_b0 on this machine, which others use meanwhile; {SETTINGS.frames:,} frames or more per run. The first"
    yield f"{ACCEPTED} trusted runs are the baseline; each other one is checked against it by the default gates: p50 at"
    yield "most 10 % more, p90 at most 25 % more. Runs that `edgefer benchmark` calls noisy are no evidence, so a check"
    yield "of one never fails; here they are judged as if they were trusted, to show how far the statistics cope alone."
    yield ""
    yield "| artifact | runs | median, ms | checks | failed | decisions on p50 and p90 |"
    yield "|---|---|---|---:|---:|---|"
    for one in found:
        rows = {
            "trusted": (one.trusted, [run for run in one.runs if run.trusted]),
            "noisy, taken as trusted": (one.forced, [run for run in one.runs if not run.trusted]),
        }
        yield f"| {one.format} | baseline | {_range(one.accepted)} | | | |"
        for name, (checks, runs) in rows.items():
            if checks:
                told = f"{len(checks)} | **{failed(checks)}** | {_counted(checks)}"
                yield f"| | {name} | {_range(runs)} | {told} |"
    yield ""


def _latencies(check: Check) -> list[Outcome]:
    decisions = [decision for decision in check.decisions if decision.finding]
    return [decision.outcome for decision in decisions if decision.metric.startswith("latency")]


def _counted(checks: Sequence[Check]) -> str:
    counts = Counter(outcome for check in checks for outcome in _latencies(check))
    return ", ".join(f"{counts[outcome]} {word}" for outcome, word in WORDS.items() if counts[outcome])


def _range(runs: Sequence[Benchmark]) -> str:
    medians = [artifact.timing.invoke.p50 for run in runs for artifact in run.runs[0].artifacts.values()]
    return f"{min(medians):.3f} to {max(medians):.3f}"


def _convert(folder: Path) -> Bundle:
    return edgefer.convert(
        SHARED / "models" / "fer_b0.onnx",
        folder / "fer_b0_bundle",
        calibration=SHARED / "data" / "fer2013_calibration.npz",
    )


if __name__ == "__main__":
    sys.exit(main())
