"""On this machine: threads, or processes where there is so much to do that they pay for their start."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures import Executor as Pool
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefer.errors import EvidenceError, InputError
from edgefer.execution.task import Executor, Job, Outcome, Perform, Task
from edgefer.host.progress import Advance
from edgefer.host.threads import processors

PAYS = 5_000
"""Steps for each worker, from which on processes are faster than threads, although each takes a second to start."""

_AHEAD = 2
"""Jobs for each worker that are ready or worked on."""
_TELL_S = 0.2


@dataclass(frozen=True)
class Local:
    """Workers of this machine.

    Attributes:
        workers: that work at once; each runs models with one thread.
        processes: whether they may be processes.  Python starts these by importing the script that was started: one
            that does all its work as it is imported needs `if __name__ == "__main__":` around it.
    """

    workers: int = field(default_factory=processors)
    processes: bool = False
    carries: bool = field(default=False, init=False)

    def map(self, task: Task, jobs: Sequence[Job], advance: Advance) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        workers = min(self.workers, len(jobs))
        alone = any(job.alone for job in jobs)
        pays = alone or sum(job.steps or 0 for job in jobs) >= PAYS * workers
        if self.processes and workers > 1 and pays and all(job.key for job in jobs):
            yield from _by_processes(task, jobs, advance, workers)
        else:
            yield from _by_threads(task, jobs, advance, 1 if alone else workers)


def executor(workers: Executor | int | None) -> Executor:
    """So many threads of this machine, one per processor where nothing is said; or whoever is given."""
    if workers is None:
        return Local()
    return Local(workers) if isinstance(workers, int) else workers


def _by_threads(task: Task, jobs: Sequence[Job], advance: Advance, workers: int) -> Iterator[tuple[int, Outcome]]:
    stopped, lock, own = threading.Event(), threading.Lock(), threading.local()

    def step() -> None:
        if stopped.is_set():
            raise CancelledError
        with lock:
            advance()

    def perform(item: Any) -> Outcome:
        if not hasattr(own, "perform"):
            own.perform = task.open(task.files)
        return _outcome(own.perform, item, step)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from _mapped(pool, perform, jobs, workers)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _by_processes(task: Task, jobs: Sequence[Job], advance: Advance, workers: int) -> Iterator[tuple[int, Outcome]]:
    context = multiprocessing.get_context("spawn")
    stopped, count = context.Event(), context.Value("Q", 0)
    told = 0

    def tell() -> None:
        nonlocal told
        while told < count.value:
            advance()
            told += 1

    pool = ProcessPoolExecutor(workers, context, _begin, (task, task.files, stopped, count))
    try:
        yield from _mapped(pool, _perform, jobs, workers, tell)
    except BrokenProcessPool as error:
        raise EvidenceError(
            "a worker process was ended by the system: is there not enough memory for all of them?",
            remedy="What was done is kept: the same command, with fewer --workers, goes on from there.",
        ) from error
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


_own: tuple[Perform, Advance] | None = None
"""What this process, where it is a worker's, performs jobs with."""


def _begin(task: Task, files: Mapping[str, Path], stopped: Any, count: Any) -> None:
    """In a worker process: make ready.  Ctrl-C reaches it too, and is its parent's affair."""
    global _own
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def step() -> None:
        if stopped.is_set():
            raise CancelledError
        with count.get_lock():
            count.value += 1

    _own = (task.open(files), step)


def _perform(item: Any) -> Outcome:
    assert _own is not None
    perform, step = _own
    return _outcome(perform, item, step)


def _outcome(perform: Perform, item: Any, step: Advance) -> Outcome:
    try:
        return perform(item, step)
    except InputError as error:
        return error


def _mapped(
    pool: Pool,
    perform: Callable[[Any], Outcome],
    jobs: Sequence[Job],
    workers: int,
    tell: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, with a few jobs ahead."""
    following = iter(enumerate(jobs))
    running: dict[Future[Outcome], int] = {}
    while True:
        for place, job in following:
            running[pool.submit(perform, job.item(False))] = place
            if len(running) >= _AHEAD * workers:
                break
        if not running:
            return
        done, _ = wait(running, _TELL_S, FIRST_COMPLETED)
        tell()
        for future in sorted(done, key=lambda each: (each.exception() is not None, running[each])):
            yield running.pop(future), future.result()
