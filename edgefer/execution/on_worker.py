"""What a Dask worker does: keeps files and tasks that it was sent, and performs jobs."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from edgefer.errors import InputError
from edgefer.execution.task import Outcome, Perform
from edgefer.host.files import write_whole

if TYPE_CHECKING:
    from distributed import Worker

_tasks: dict[str, tuple[bytes, dict[str, Path]]] = {}
"""Pickled tasks and where their files lie, by run."""

_ALONE = threading.Lock()

_own = threading.local()
"""Of each thread: the run that it performs jobs of, and with what."""


def missing(names: list[str], dask_worker: Worker) -> list[str]:
    """Of files named by their digest, those that this worker does not have."""
    folder = _folder(dask_worker)
    return [name for name in names if not (folder / name).is_file()]


def take(run: str, task: bytes, names: Mapping[str, str], contents: Mapping[str, bytes], dask_worker: Worker) -> None:
    """Keep a run's task.

    Args:
        run: any name of the run.
        task: pickled.
        names: of its files, by the task's names for them: their digests and suffixes.
        contents: of those that were missing.
        dask_worker: given by Dask.
    """
    folder = _folder(dask_worker)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if not name.startswith(sha256(content).hexdigest()):
            raise InputError(f"{name}: was damaged on its way")
        write_whole(folder / name, content)
    _tasks[run] = (task, {key: folder / name for key, name in names.items()})


def forget(run: str) -> None:
    """A run is over."""
    _tasks.pop(run, None)


def perform(run: str, item: bytes, alone: bool) -> Outcome:
    """A job of a run, its item pickled; `alone`: no other such job in this process meanwhile."""
    with _ALONE if alone else nullcontext():
        return _perform(run, item)


def _perform(run: str, item: bytes) -> Outcome:
    try:
        if getattr(_own, "run", None) != run:
            task, files = _tasks[run]
            opened: Perform = pickle.loads(task).open(files)
            _own.run, _own.perform = run, opened
        result: bytes = _own.perform(pickle.loads(item), lambda: None)
        return result
    except InputError as error:
        return InputError(error.message, remedy=error.remedy, detail=error.detail)


def _folder(worker: Worker) -> Path:
    return Path(worker.local_directory) / "edgefer"
