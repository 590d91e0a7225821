"""`check`: a bundle's evidence against gates and a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgefer.bundle import Bundle
from edgefer.device.results import SCHEMA as BENCHMARK
from edgefer.device.results import Benchmark
from edgefer.evaluation.results import SCHEMA as EVALUATION
from edgefer.evaluation.results import Evaluation
from edgefer.gates import baseline as baselines
from edgefer.gates.decide import judge
from edgefer.gates.evidence import Evidence
from edgefer.gates.gate import load_gates
from edgefer.gates.gather import gather
from edgefer.gates.results import Check
from edgefer.host.documents import Document, read_document
from edgefer.host.text import printable


def check(
    bundle: Bundle | str | Path,
    baseline: str | Path | None = None,
    *,
    gates: str | Path | None = None,
    evaluation: Evaluation | str | Path | None = None,
    benchmarks: Sequence[Benchmark | str | Path] = (),
) -> Check:
    """Whether a bundle holds its bounds, and is no worse than the one that was accepted before.

    Args:
        bundle: an opened bundle, or its directory.
        baseline: the file that `Check.baseline` was written to; changes are not judged without one.
        gates: a TOML file; the default gates when None.
        evaluation: of this bundle: what `edgefer.evaluate` returned, or the file that `edgefer evaluate --json` wrote.
        benchmarks: of this bundle: what `edgefer.benchmark` returned, or files that `edgefer benchmark --json` wrote;
            several runs on a device tell how far runs differ.

    Raises:
        InputError: a file cannot be read, is damaged, or is about another bundle.
    """
    asked = load_gates(gates)
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    accepted = None
    if baseline is not None:
        accepted = baselines.from_document(read_document(baseline, baselines.SCHEMA, baselines.MAKER))
    evaluated = None if evaluation is None else _document(evaluation, EVALUATION, "edgefer evaluate --json")
    benchmarked = [_document(run, BENCHMARK, "edgefer benchmark --json") for run in benchmarks]
    evidence = gather(bundle, evaluated, benchmarked)
    notes = tuple(map(printable, _notes(evidence)))
    lacking = {
        option: what
        for option, (what, given) in {
            "--evaluation": ("how accurate it is, and how often it agrees with float", evaluation is not None),
            "--benchmark": ("how fast it is, and what memory it takes", bool(benchmarks)),
        }.items()
        if not given
    }
    return Check(bundle.name, judge(asked, evidence, accepted), notes, baselines.to_text(evidence), lacking)


def _document(source: Evaluation | Benchmark | str | Path, schema: str, maker: str) -> Document:
    if isinstance(source, str | Path):
        return read_document(source, schema, maker)
    return Document(f"the {type(source).__name__.lower()}", source.to_dict())


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    for device in evidence.devices:
        if device.emulated:
            notes.append(
                f"{device.name} is emulated: its instruction counts are evidence, its times and memory are not"
            )
        notes += [
            f"{device.name}, {format}: its times are no evidence: {timing.unfit}"
            for format, timing in device.timings.items()
            if timing.unfit and not device.emulated
        ]
    return notes
