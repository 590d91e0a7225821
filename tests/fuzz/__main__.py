"""Damages inputs of every kind and reads them; says what ended in anything but success or an error of edgefer.

python -m tests.fuzz [COUNT] [SEED] [KIND ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS


def fuzz(count: int, seed: int, folder: Path, kinds: tuple[str, ...] = tuple(TARGETS)) -> list[dict[str, str]]:
    """What was found in `count` damaged inputs, shared out among the kinds; the inputs are kept in FOLDER/kept.

    Workers are processes, so that a signal is a finding like any other; each is started again behind its input.
    """
    total = sum(TARGETS[kind].weight for kind in kinds)
    for kind in kinds:
        seeds = folder / "seeds" / kind
        seeds.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}.seeds").write_text("\n".join(path.name for path in TARGETS[kind].seed(seeds)))
        first, last = 0, max(count * TARGETS[kind].weight // total, 1)
        while first < last:
            numbers = map(str, (first, last, seed))
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.worker", kind, *numbers, folder],
                stderr=subprocess.PIPE,
                check=False,
            )
            if done.returncode == 0:
                break
            at = int((folder / f"{kind}.at").read_text())
            said = f"ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}"
            with (folder / "findings").open("a") as file:
                file.write(json.dumps({"kind": kind, "index": at, "file": "", "said": said}) + "\n")
            first = at + 1
    found = folder / "findings"
    return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []


if __name__ == "__main__":
    amount, number = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 20_000), (2, 0)))
    place = Path(tempfile.mkdtemp(prefix="edgefer-fuzz-"))
    findings = fuzz(amount, number, place, tuple(sys.argv[3:]) or tuple(TARGETS))
    for (kind, said), times in Counter((each["kind"], each["said"]) for each in findings).most_common():
        print(f"{times:5} {kind}: {said}")
    print(f"{amount} inputs, {len(findings)} findings; inputs are in {place / 'kept'}")
    sys.exit(bool(findings))
