"""Who does the work: options of the commands that have much of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from edgefer.cli.output import Command
from edgefer.errors import UsageError
from edgefer.execution import Executor, Local
from edgefer.host.progress import Progress
from edgefer.host.threads import processors


def worker_options(command: Command) -> Command:
    """Add --workers, --cluster, --send-data and --any-version to a command."""
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
        command = option(command)
    return command


@contextmanager
def chosen_workers(
    workers: int | None,
    cluster: str | None,
    *,
    send_data: bool,
    any_version: bool,
    progress: Progress,
    here: bool = False,
) -> Iterator[Executor]:
    """Those that the options ask for, until the end of the block; `here`: in this process alone.

    Raises:
        UsageError: options contradict each other, or there is no such cluster.
    """
    if cluster is None:
        if send_data or any_version:
            raise UsageError("--send-data and --any-version go with --cluster")
        yield Local(workers or processors(), processes=not here)
        return
    if here:
        raise UsageError("answers come live from this machine alone: leave out --live, or --cluster")
    if workers is not None:
        raise UsageError("--workers is for this machine, and --cluster has its own: give one of them")
    from edgefer.execution.cluster import cluster as opened

    with opened(cluster, send_data=send_data, any_version=any_version, progress=progress) as found:
        yield found
