"""Damages inputs of every kind and reads them; says what ended in anything but success or an error of edgefer.

python -m tests.fuzz [COUNT] [--folder DIR] [--record]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.measured import RESULTS, signed
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import FOUND, READ, REFUSED


def fuzz(count: int, seed: int, folder: Path, kinds: tuple[str, ...] = tuple(TARGETS)) -> list[dict[str, str]]:
    """What was found in `count` damaged inputs, shared out among the kinds; the inputs are kept in FOLDER/kept.

    Workers are processes, so that a signal is a finding like any other; each is started again behind its input.  What
    an earlier call did in the same folder is not done again.
    """
    total = sum(TARGETS[kind].weight for kind in kinds)
    for kind in kinds:
        seeds = folder / "seeds" / kind
        if not seeds.exists():
            seeds.mkdir(parents=True)
            (folder / f"{kind}.seeds").write_text("\n".join(path.name for path in TARGETS[kind].seed(seeds)))
        last = max(count * TARGETS[kind].weight // total, 1)
        while (first := len(outcomes(folder, kind))) < last:
            numbers = map(str, (first, last, seed))
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.worker", kind, *numbers, folder],
                stderr=subprocess.PIPE,
                check=False,
            )
            if done.returncode == 0:
                break
            said = f"ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"
            at = len(outcomes(folder, kind))
            with (folder / "findings").open("a") as file:
                file.write(json.dumps({"kind": kind, "index": at, "file": "", "said": said}) + "\n")
            with (folder / f"{kind}.outcomes").open("a") as file:
                file.write(f"{FOUND}\n")
    found = folder / "findings"
    return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []


def outcomes(folder: Path, kind: str) -> list[str]:
    """What came of each input of a kind."""
    path = folder / f"{kind}.outcomes"
    return path.read_text().split() if path.exists() else []


def main() -> int:
    """Damage, read, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damage inputs of every kind, read them.")
    parser.add_argument("count", nargs="?", type=int, default=20_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=TARGETS, help="of inputs; all by default")
    parser.add_argument("--folder", type=Path, help="where to work; goes on with what was begun there")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/fuzz.md")
    asked = parser.parse_args()
    place = asked.folder or Path(tempfile.mkdtemp(prefix="edgefer-fuzz-"))
    kinds = tuple(asked.kind or TARGETS)
    findings = fuzz(asked.count, asked.seed, place, kinds)
    for (kind, said), times in Counter((each["kind"], each["said"]) for each in findings).most_common():
        print(f"{times:5} {kind}: {said}")
    print(f"{asked.count} inputs, {len(findings)} findings; inputs are in {place / 'kept'}")
    if asked.record:
        (RESULTS / "fuzz.md").write_text(table(place, kinds, asked.seed, findings), "utf-8")
    return int(bool(findings))


def table(folder: Path, kinds: tuple[str, ...], seed: int, findings: list[dict[str, str]]) -> str:
    """What came of the inputs of a folder, by kind, and all that should not have come."""
    lines = [
        f"Written by `python -m tests.fuzz --record`, seed {seed}: each input is damaged, and read as its user would.",
        "",
        "| kind | inputs | read | refused | anything else |",
        "|---|--:|--:|--:|--:|",
    ]
    total: Counter[str] = Counter()
    for kind in kinds:
        counts = Counter(outcomes(folder, kind))
        total += counts
        lines.append(_row(f"`{kind}`", counts))
    lines.append(_row("all", total))
    lines += ["", *(f"- `{each['kind']}` {each['index']}: {each['said']}" for each in findings)] if findings else []
    return signed("\n".join(lines), "checkpoint", "graph", "images", "onnx_import")


def _row(name: str, counts: Counter[str]) -> str:
    told = (counts.total(), counts[READ], counts[REFUSED], counts[FOUND])
    return f"| {name} | {' | '.join(f'{number:,}' for number in told)} |"


if __name__ == "__main__":
    sys.exit(main())
