"""Tables that `edgefer run` wrote, read again: of each source, the face that is seen longest."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np

from edgefer.errors import InputError
from edgefer.execution import Executor, Job, Store, execute
from edgefer.execution.task import Perform
from edgefer.host.progress import Advance, Progress
from edgefer.timeline.observed import Floats

_VERSION = 1  # of what is kept of tables that were read
_ROW_BYTES = 200


@dataclass(frozen=True, eq=False)
class SeenSource:
    """A source, and the face in it that is seen longest, on n frames.

    Attributes:
        name: run and source.
        end_s: when its last frame is.
        scores: their names.
        times: of the frames, seconds, (n,).
        values: smoothed scores, (n, scores).
    """

    name: str
    end_s: float
    scores: tuple[str, ...]
    times: Floats
    values: Floats


def read_runs(runs: Sequence[Path], workers: Executor, progress: Progress) -> list[SeenSource]:
    """All sources of all runs, in their order.

    Args:
        runs: directories that `edgefer run` wrote.
        workers: who reads.
        progress: who is told.

    Raises:
        InputError: a run cannot be read.
        EvidenceError: the workers are gone.
    """
    jobs = [_job(run / "frames.csv") for run in runs]
    store = Store.of(sha256(f"read_runs {_VERSION}".encode()).hexdigest())
    found: dict[int, list[SeenSource]] = {}
    for place, outcome in execute(ReadRun(), jobs, workers, store, progress, "read", "rows"):
        if isinstance(outcome, InputError):
            raise outcome
        found[place] = _from_bytes(outcome, runs[place].name)
    store.forget(job.key for job in jobs)
    return [source for place in range(len(runs)) for source in found[place]]


@dataclass(frozen=True)
class ReadRun:
    """The task: read a table `frames.csv`."""

    files: Mapping[str, Path] = field(default_factory=dict)

    def open(self, files: Mapping[str, Path]) -> Perform:
        """See `Task`."""

        def perform(table: Table, advance: Advance) -> bytes:
            return _read(table)

        return perform


@dataclass(frozen=True)
class Table:
    """A file.

    Attributes:
        path: of it.
        content: of it, where it was sent along.
    """

    path: Path
    content: bytes | None


def _job(path: Path) -> Job:
    def item(carried: bool) -> Table:
        return Table(path, path.read_bytes() if carried else None)

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", remedy="Make it with `edgefer run`."
        ) from error
    return Job(sha256(content).hexdigest(), item, len(content) // _ROW_BYTES, str(path))


def _read(table: Table) -> bytes:
    path = table.path
    faces: dict[str, dict[str, list[tuple[float, dict[str, float]]]]] = {}
    ends: dict[str, float] = {}
    try:
        content = path.read_bytes() if table.content is None else table.content
        for row in csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")):
            scores = {
                key.removeprefix("smooth_").removeprefix("p_"): float(value)
                for key, value in row.items()
                if key.startswith("smooth_") and value
            }
            time_s = float(row["time_s"])
            ends[row["source"]] = max(ends.get(row["source"], time_s), time_s)
            if row["face"] and scores:
                faces.setdefault(row["source"], {}).setdefault(row["face"], []).append((time_s, scores))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}", remedy="Make it with `edgefer run`.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a table that `edgefer run` wrote", remedy="Make it again.") from error
    if not ends:
        raise InputError(f"{path}: holds no frames", remedy="Make it again.")
    facts, arrays = [], {}
    for place, (source, end_s) in enumerate(ends.items()):
        longest = max(faces.get(source, {"": []}).values(), key=len)
        columns = list(longest[0][1]) if longest else []
        facts.append({"source": source, "end_s": end_s, "scores": columns})
        arrays[f"{place}.times"] = np.array([time_s for time_s, _ in longest], np.float64)
        rows = [[scores.get(column, np.nan) for column in columns] for _, scores in longest]
        arrays[f"{place}.values"] = np.array(rows, np.float64).reshape(len(longest), len(columns))
    file = io.BytesIO()
    np.savez(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _from_bytes(data: bytes, run: str) -> list[SeenSource]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return [
            SeenSource(
                f"{run}/{each['source']}",
                each["end_s"],
                tuple(each["scores"]),
                stored[f"{place}.times"],
                stored[f"{place}.values"],
            )
            for place, each in enumerate(json.loads(str(stored["facts"])))
        ]
