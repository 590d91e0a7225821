"""What is to be done, and who does it: a Task, its Jobs, and an Executor that maps the one over the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from edgefer.errors import InputError
from edgefer.host.progress import Advance

Perform: TypeAlias = Callable[[Any, Advance], bytes]
"""From a job's item to its result; calls the second argument after each of the job's steps."""

Outcome: TypeAlias = bytes | InputError
"""A result, or why there is none: bad input is a job's own affair, any other error ends the work."""


class Task(Protocol):
    """One function over many items.  Where it is performed elsewhere it is pickled, and so are the items."""

    @property
    def files(self) -> Mapping[str, Path]:
        """What every worker needs to read, by a name of the task's own; sent where a worker does not have it."""
        ...

    def open(self, files: Mapping[str, Path]) -> Perform:
        """Make ready to perform jobs, for one thread; `files` are where they lie for this worker."""
        ...


@dataclass(frozen=True)
class Job:
    """One item of a task.

    Attributes:
        key: digest of all that its result depends on, besides the task; `""` for what is never to be kept.
        item: makes the item when its turn comes, so that no more of them are in memory than are worked on; told
            whether it must carry its data, or may name the files that hold them.
        steps: about how many it has; None where it does not say.
        name: for people.
        alone: whether it must have a process to itself, as it uses many threads and sets what belongs to all.
    """

    key: str
    item: Callable[[bool], Any]
    steps: int | None
    name: str
    alone: bool = False


class Executor(Protocol):
    """Performs jobs, several at once."""

    @property
    def carries(self) -> bool:
        """Whether items must carry their data."""
        ...

    def map(self, task: Task, jobs: Sequence[Job], advance: Advance) -> Iterator[tuple[int, Outcome]]:
        """Outcomes as they come, each with its job's place; once closed, no more are begun.

        Args:
            task: what is done.
            jobs: with what.
            advance: called once for each step that is done.

        Raises:
            EvidenceError: who does it is gone; what came until then is right.
        """
        ...
