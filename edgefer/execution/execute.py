"""`execute`: a task over jobs, without those whose results are kept from before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgefer.execution.store import Store
from edgefer.execution.task import Executor, Job, Outcome, Task
from edgefer.host.progress import Progress


def execute(
    task: Task, jobs: Sequence[Job], executor: Executor, store: Store, progress: Progress, stage: str, steps: str
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes with their jobs' places: those kept from before first, then the others as they come.

    A caller puts them in the order of their places, so that nothing of what it makes of them depends on who was
    faster.  Results are kept as they come: closed or failed, the same call goes on from there.

    Args:
        task: what is done.
        jobs: with what.
        executor: by whom.
        store: where results are kept.
        progress: told of every step.
        stage: its name.
        steps: what jobs go through, in the plural, for people.

    Raises:
        EvidenceError: the executor is gone.
    """
    kept = {place: done for place, job in enumerate(jobs) if job.key and (done := store.load(job.key)) is not None}
    counts = [job.steps for job in jobs if job.steps is not None]
    total = sum(counts) if len(counts) == len(jobs) else None
    if kept:
        counted = sum(jobs[place].steps or 0 for place in kept)
        before = f"{len(kept)} of {len(jobs)} parts" if total is None else f"{counted:,} of {total:,} {steps}"
        progress.note(f"{before} were done before an interruption; going on from there")
    with progress.stage(stage, total) as advance:
        for place, result in kept.items():
            for _ in range(jobs[place].steps or 0):
                advance()
            yield place, result
        missing = [place for place in range(len(jobs)) if place not in kept]
        if not missing:
            return
        for turn, outcome in executor.map(task, [jobs[place] for place in missing], advance):
            job = jobs[missing[turn]]
            if job.key and isinstance(outcome, bytes):
                store.save(job.key, outcome)
            yield missing[turn], outcome
