"""On a Dask cluster: other machines, or processes of this one.

    with cluster("tcp://host:8786") as workers:
        evaluate(bundle, data, workers=workers)

A worker is taken when its versions are ours, and is sent the task and, by their hashes, the files that it needs.  Jobs
are handed out a few ahead of their workers, so that neither here nor on the scheduler all of them are in memory.  One
whose worker is lost is done again by another; workers may join at any time.
"""

from __future__ import annotations

import logging
import pickle
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from secrets import token_hex
from time import monotonic
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from edgefer.errors import EdgeferError, EvidenceError, InputError, UsageError
from edgefer.execution import fitness, on_worker
from edgefer.execution.fitness import differences, versions, worker_name
from edgefer.execution.task import Job, Outcome, Task
from edgefer.host.progress import SILENT, Advance, Progress
from edgefer.host.text import counted

if TYPE_CHECKING:
    from distributed import Client, Future

ENVIRONMENT = "env"
_SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
_CONNECT_S = 15.0
_LOOK_S = 1.0
_PATIENCE_S = 60.0
"""How long workers are waited for where there is none."""
_TELL_S = 30.0
_FETCHERS = 4
_DESERTED = 3
"""So often all workers that may do a job may be lost before it is held to be its fault, as Dask has it for each."""


@contextmanager
def cluster(
    address: str, *, send_data: bool = False, any_version: bool = False, progress: Progress = SILENT
) -> Iterator[Cluster]:
    """Workers of a Dask cluster, until the end of the block.

    Args:
        address: of its scheduler (`tcp://host:8786`); a scheduler file (`.json`); `local:N` for N processes of this
            machine; or `env` for what Dask's own configuration names.
        send_data: whether images and videos are sent, as workers do not see this machine's files.
        any_version: whether workers with other versions are taken; results may then differ.
        progress: told of workers that come and go.

    Raises:
        UsageError: Dask is not installed, or the cluster does not answer.
    """
    try:
        import cloudpickle
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            f"a cluster needs Dask, and {error.name} is not installed", remedy='pip install "edgefer[cluster]"'
        ) from error
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they have to say is said by what we raise
    cloudpickle.register_pickle_by_value(fitness)
    own: LocalCluster | None = None
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "10GB"}):
        try:
            if address.startswith("local:"):
                count = _count(address)
                own = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None)
            client = Client(**_where(address, own, dask.config.get("scheduler-address", None)), timeout=_CONNECT_S)
        except (OSError, TimeoutError, ValueError, ImportError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {address}: {str(error).splitlines()[0]}",
                remedy="Start one with `dask scheduler`, and workers with `dask worker tcp://HOST:8786`.",
            ) from error
        try:
            found = Cluster(client, address, send_data, any_version, progress)
            yield found
            progress.note(found.tally.words())
        finally:
            with suppress(Exception):  # it may be gone
                client.close(timeout=2)
            if own is not None:
                own.close(timeout=5)


def _count(address: str) -> int:
    number = address.removeprefix("local:")
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"{address}: says not how many processes", remedy="Write local:4 for four.")
    return int(number)


def _where(address: str, own: Any, configured: Any) -> dict[str, Any]:
    if own is not None:
        return {"address": own}
    if address == ENVIRONMENT:
        if not configured:
            raise UsageError(
                "Dask's configuration names no scheduler",
                remedy="Set DASK_SCHEDULER_ADDRESS, or give --cluster tcp://HOST:8786.",
            )
        return {"address": configured}
    if address.endswith(".json"):
        if not Path(address).is_file():
            raise UsageError(f"{address}: no such scheduler file")
        return {"scheduler_file": address}
    if not address.startswith(_SCHEMES):
        raise UsageError(
            f"{address}: not where a cluster can be", remedy="Write tcp://HOST:8786, local:4, env, or FILE.json."
        )
    return {"address": address}


@dataclass
class Tally:
    """What a cluster did, and who came and went meanwhile."""

    workers: int = 0
    done: int = 0
    handed_out: int = 0
    lost: int = 0
    joined: int = 0
    refused: set[str] = field(default_factory=set)

    def words(self) -> str:
        """For people."""
        return (
            f"cluster: {counted(self.done, 'part')} done by {counted(self.workers, 'worker')}; "
            f"{self.lost} lost on the way, {self.joined} joined, {len(self.refused)} refused"
        )


class Cluster:
    """Workers of a Dask cluster; made by `cluster`.

    Attributes:
        carries: whether items are sent with all their data.
        tally: what was done by whom.
    """

    def __init__(self, client: Client, address: str, carries: bool, any_version: bool, progress: Progress) -> None:
        self.carries, self.tally = carries, Tally()
        self._client, self._address, self._any_version, self._progress = client, address, any_version, progress

    def map(self, task: Task, jobs: Sequence[Job], advance: Advance) -> Iterator[tuple[int, Outcome]]:
        """See `Executor`."""
        if here := next((job for job in jobs if not job.key), None):
            raise UsageError(f"{here.name}: is of this machine alone", remedy="Leave --cluster out.")
        crew = _Crew(self._client, self._address, task, self._any_version, self._progress, self.tally)
        waiting, running = deque(range(len(jobs))), dict[Any, tuple[int, frozenset[str]]]()
        finished: SimpleQueue[tuple[Any, Outcome | BaseException]] = SimpleQueue()
        deserted = Counter[int]()
        done = 0
        fetchers = ThreadPoolExecutor(_FETCHERS)

        def fetch(future: Future) -> None:
            try:
                finished.put((future, future.result()))
            except BaseException as error:
                finished.put((future, error))

        def came(future: Future) -> None:
            with suppress(RuntimeError):  # all is over
                fetchers.submit(fetch, future)

        try:
            while waiting or running:
                if crew.look():
                    for future, (place, able) in list(running.items()):
                        if not able & crew.threads.keys():  # all that might have done it are gone
                            del running[future]
                            future.cancel()
                            deserted[place] += 1
                            waiting.appendleft(place)
                while waiting and len(running) < crew.places:
                    place = waiting.popleft()
                    if deserted[place] > _DESERTED:
                        done += 1
                        yield place, _ended(jobs[place])
                        continue
                    future = crew.submit(jobs[place], self.carries)
                    running[future] = (place, frozenset(crew.threads))
                    future.add_done_callback(came)
                try:
                    future, answer = finished.get(timeout=_LOOK_S / 2)
                except Empty:
                    continue
                if future not in running:
                    continue
                place, _ = running.pop(future)
                outcome = crew.outcome(answer, future, jobs[place])
                done += 1
                self.tally.done += 1
                for _ in range(jobs[place].steps or 0):
                    advance()
                crew.tell(done, len(jobs))
                yield place, outcome
            crew.finish()
        finally:
            for future in running:
                with suppress(Exception):
                    future.cancel()
            fetchers.shutdown(wait=False, cancel_futures=True)


def _ended(job: Job) -> InputError:
    return InputError(
        f"{job.name}: one worker after the other ended while at it",
        remedy="Is there not enough memory for it? Their logs tell more.",
    )


class _Crew:
    """The workers that do one run, as they come and go.

    Attributes:
        threads: of each, by address.
    """

    def __init__(
        self, client: Client, address: str, task: Task, any_version: bool, progress: Progress, tally: Tally
    ) -> None:
        self._tally = tally
        self.threads: dict[str, int] = {}
        self._client, self._address, self._any_version, self._progress = client, address, any_version, progress
        self._run = token_hex(8)
        self._files = {name: path.read_bytes() for name, path in task.files.items()}
        self._names = {name: sha256(self._files[name]).hexdigest() + path.suffix for name, path in task.files.items()}
        self._task = pickle.dumps(task)
        self._here = versions()
        self._refused: dict[str, str] = {}
        self._begun = self._looked = self._told = self._manned = monotonic()
        self._first = True

    @property
    def places(self) -> int:
        """How many jobs are handed out at once: one for each thread, and one ahead for each worker."""
        return sum(self.threads.values()) + len(self.threads)

    def look(self) -> bool:
        """Take on those who came, and miss those who are gone; whether anyone is.

        Raises:
            EvidenceError: nobody is there, nor comes.
        """
        now = monotonic()
        if not self._first and now - self._looked < _LOOK_S:
            return False
        self._looked = now
        present: dict[str, int] = self._ask(self._client.nthreads)
        gone = self.threads.keys() - present.keys()
        for worker in gone:
            del self.threads[worker]
            self._progress.note(f"worker {worker} is lost: what it was doing is done by others")
        self._tally.lost += len(gone)
        new = [worker for worker in present if worker not in self.threads and worker not in self._refused]
        for worker in self._fit(new):
            self.threads[worker] = present[worker]
            if not self._first:
                self._tally.joined += 1
                self._progress.note(f"worker {worker} joins")
        if self.threads:
            if not self._tally.workers:
                self._progress.note(f"cluster: {counted(len(self.threads), 'worker')} at {self._address}")
            self._tally.workers = len(self.threads)
            self._first, self._manned = False, now
        elif self._refused or now - self._manned > _PATIENCE_S:
            raise self._nobody()
        return bool(gone)

    def submit(self, job: Job, carried: bool) -> Future:
        """Hand out a job."""
        arguments = (self._run, pickle.dumps(job.item(carried)), job.alone)
        self._tally.handed_out += 1
        key = f"edgefer-{self._run}-{self._tally.handed_out}"
        return self._ask(
            lambda: self._client.submit(on_worker.perform, *arguments, key=key, workers=list(self.threads))
        )

    def outcome(self, answer: Outcome | BaseException, future: Future, job: Job) -> Outcome:
        """Of a job that is over.

        Raises:
            EvidenceError: the scheduler is gone.
        """
        from distributed import KilledWorker

        if isinstance(answer, bytes | InputError):
            return answer
        if isinstance(answer, KilledWorker):
            return _ended(job)
        if isinstance(answer, EdgeferError):
            raise answer
        if future.status == "error":
            raise EvidenceError(
                f"{job.name}: a worker fails on it: {type(answer).__name__}: {answer}",
                remedy="What was done is kept: the same command goes on from there.",
                detail="".join(format_exception(answer)),
            ) from answer
        raise self._gone() from answer

    def tell(self, done: int, total: int) -> None:
        """How far it is, now and then."""
        now = monotonic()
        if now - self._told >= _TELL_S:
            self._told = now
            left = (now - self._begun) / done * (total - done)
            who = counted(len(self.threads), "worker")
            self._progress.note(f"cluster: {done:,} of {total:,} parts by {who}, about {left:.0f} s left")

    def finish(self) -> None:
        """All is done: see who is left, and let them forget it."""
        self._looked = 0.0
        self.look()
        with suppress(Exception):
            self._client.run(on_worker.forget, self._run, workers=list(self.threads), on_error="ignore")

    def _fit(self, new: Sequence[str]) -> list[str]:
        """Those of the new ones who may take part, and have all that they need for it."""
        if not new:
            return []
        fit = []
        found = self._on(new, versions)
        for worker, there in found.items():
            other = differences(self._here, there)
            if other and not (self._any_version and there["edgefer"] != "none"):
                name = self._on([worker], worker_name).get(worker, worker)
                who = worker if name == worker else f"{worker} ({name})"
                self._refused[worker] = f"worker {who}: {other}"
                if worker not in self._tally.refused:
                    self._progress.note(f"{self._refused[worker]}: refused, as results could differ")
                self._tally.refused.add(worker)
            else:
                fit.append(worker)
        names = sorted(set(self._names.values()))
        lacks = self._on(fit, on_worker.missing, names) if fit else {}
        contents = {self._names[name]: content for name, content in self._files.items()}
        ready: list[str] = []
        for lack in {tuple(each) for each in lacks.values()}:
            alike = [worker for worker, each in lacks.items() if tuple(each) == lack]
            sent = {name: contents[name] for name in lack}
            ready += self._on(alike, on_worker.take, self._run, self._task, self._names, sent)
        return ready

    def _on(self, workers: Sequence[str], function: Any, *arguments: Any) -> dict[str, Any]:
        """What a function gives on each; those on which it fails, as they are lost, are left out."""
        found: dict[str, Any] = self._ask(
            lambda: self._client.run(function, *arguments, workers=list(workers), on_error="return")
        )
        for error in found.values():
            if isinstance(error, EdgeferError):
                raise error
        return {worker: answer for worker, answer in found.items() if not isinstance(answer, BaseException)}

    def _ask(self, question: Any) -> Any:
        try:
            return question()
        except (OSError, TimeoutError, RuntimeError) as error:
            raise self._gone() from error

    def _gone(self) -> EvidenceError:
        return EvidenceError(
            f"the Dask scheduler at {self._address} is gone",
            remedy="What was done is kept: the same command goes on from there.",
        )

    def _nobody(self) -> EdgeferError:
        if self._refused:
            told = "\n  ".join(self._refused.values())
            return UsageError(
                f"no worker at {self._address} has the versions that this machine has",
                remedy=f"{told}\n  Install the same there, or take them as they are with --any-version.",
            )
        return EvidenceError(
            f"no worker at {self._address}" + (" any more" if self._tally.lost else ""),
            remedy=f"Start some with `dask worker {self._address}`. What was done is kept.",
        )
