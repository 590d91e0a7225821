"""Reads damaged inputs, one after the other, and writes what should not have happened; the parent restarts it.

python -m tests.fuzz.worker KIND FIRST LAST SEED FOLDER
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType

from edgefer.errors import EdgeferError, FaultError
from tests.fuzz.targets import TARGETS

LONGEST_S = 120
MEMORY = 6 << 30
READ, REFUSED, FOUND = "read", "refused", "found"


class TooLongError(Exception):
    """An input took longer than anybody waits."""


def run(kind: str, first: int, last: int, seed: int, folder: Path) -> None:
    """Inputs `first` to `last` of a kind; findings are lines of FOLDER/findings."""
    target = TARGETS[kind]
    seeds = sorted((folder / "seeds" / kind).iterdir())
    seeds = [path for path in seeds if path.name in (folder / f"{kind}.seeds").read_text().split("\n")]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    for index in range(first, last):
        rng = random.Random(f"{seed} {kind} {index}")
        work, scratch = folder / f"work-{kind}", folder / f"tmp-{kind}"
        for place in (work, scratch):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        tempfile.tempdir = str(scratch)
        source = rng.choice(seeds)
        path = work / source.name
        path.write_bytes(rng.choice(target.mutations)(rng, source.read_bytes()))
        outcome, said = _reading(target.read, rng, path)
        if left := sorted(file.name for file in scratch.iterdir()):
            outcome, said = FOUND, said or f"left behind: {left}"
        if outcome == FOUND:
            kept = folder / "kept" / f"{kind}-{index}-{source.name}"
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(path, kept)
            finding = {"kind": kind, "index": index, "file": str(kept), "said": said}
            with (folder / "findings").open("a") as file:
                file.write(json.dumps(finding) + "\n")
        with (folder / f"{kind}.outcomes").open("a") as file:
            file.write(f"{outcome}\n")


def _reading(read: object, rng: random.Random, path: Path) -> tuple[str, str]:
    """What came of it, and what should not have happened."""
    signal.alarm(LONGEST_S)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            read(rng, path)  # type: ignore[operator]
    except FaultError as error:
        lines = error.detail.strip().splitlines() or [error.message]
        return FOUND, f"FAULT {lines[-1]} at {lines[-3:][0].strip()}"
    except EdgeferError:
        return REFUSED, ""
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if f"{os.sep}edgefer{os.sep}" in frame.filename] or frames
        where = ours[-1].filename.rpartition(f"{os.sep}edgefer{os.sep}")[2]
        return FOUND, f"{type(error).__name__}: {str(error)[:200]} at {where}:{ours[-1].lineno}"
    finally:
        signal.alarm(0)
    return READ, ""


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
