"""Who does the work: options of the commands that have much of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import click

from edgefer.errors import UsageError
from edgefer.execution import Executor, Local
from edgefer.host.progress import Progress
from edgefer.host.threads import processors


@dataclass(frozen=True)
class Workers:
    """What the options ask for, by their names."""

    workers: int | None
    cluster: str | None
    send_data: bool
    any_version: bool

    @contextmanager
    def opened(self, progress: Progress, *, here: bool = False) -> Iterator[Executor]:
        """Those that are asked for, until the end of the block; `here`: in this process alone.

        Raises:
            UsageError: options contradict each other, or there is no such cluster.
        """
        if self.cluster is None:
            if self.send_data or self.any_version:
                raise UsageError("--send-data and --any-version go with --cluster")
            yield Local(self.workers or processors(), processes=not here)
            return
        if here:
            raise UsageError("answers come live from this machine alone: leave out --live, or --cluster")
        if self.workers is not None:
            raise UsageError("--workers is for this machine, and --cluster has its own: give one of them")
        from edgefer.execution.cluster import cluster

        with cluster(self.cluster, send_data=self.send_data, any_version=self.any_version, progress=progress) as found:
            yield found


def worker_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add --workers, --cluster, --send-data and --any-version to a command, which takes them as its `workers`."""

    @wraps(command)
    def with_workers(
        *, workers: int | None, cluster: str | None, send_data: bool, any_version: bool, **others: object
    ) -> int:
        return command(workers=Workers(workers, cluster, send_data, any_version), **others)

    for option in (
        click.option(
            "--any-version", is_flag=True, help="Take workers of other versions too; results may then differ."
        ),
        click.option(
            "--send-data", is_flag=True, help="Send the data along, to workers that do not see this machine's files."
        ),
        click.option(
            "--cluster",
            metavar="ADDRESS",
            help="Work on a Dask cluster: tcp://HOST:8786, FILE.json of a scheduler, local:N for N processes, or env "
            "for what Dask's configuration names.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="At once on this machine; one per processor."),
    ):
        with_workers = option(with_workers)
    return with_workers
