"""`edgefer sweep`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.output import (
    Console,
    directory_option,
    echo,
    make_directory,
    output_options,
    table,
    write_json,
    write_text,
)
from edgefer.cli.workers import Workers, worker_options
from edgefer.host.csv_tables import csv_text
from edgefer.host.text import counted
from edgefer.sweeping.page import sweep_page
from edgefer.sweeping.request import EXAMPLE, read_request
from edgefer.sweeping.summary import csv_header, csv_rows, header, rows, verdict
from edgefer.sweeping.sweep import sweep as run_sweep


@click.command(
    epilog=f"""\b
Examples:
  edgefer sweep sweep.toml -o swept
  edgefer sweep sweep.toml -o swept --cluster tcp://host:8786

\b
sweep.toml:
{"".join(f"  {line}" + chr(10) for line in EXAMPLE.splitlines())}
\b
OUT holds bundles/, sweep.json, sweep.csv and report.html.  Interrupted, the same command
goes on from there; so it does where networks, options or boards were added.  A drop is
counted from the best float network of the sweep.

\b
Exit codes: 0 done, and one artifact keeps all bounds; 1 none does; 2 wrong usage; 3 a file
that cannot be read; 5 interrupted, not all could be converted and measured,
or the recommended one's times are no evidence.
"""
)
@click.argument("file", type=click.Path(path_type=Path), metavar="SWEEP.toml")
@directory_option
@click.option("--csv", "csv_file", metavar="FILE", help="Write the table as CSV here too; - for standard output.")
@worker_options
@output_options
def sweep(
    file: Path,
    output: Path,
    csv_file: str | None,
    workers: Workers,
    console: Console,
) -> int:
    """Try networks and options beside each other, on images and boards, as SWEEP.toml says."""
    request = read_request(file)  # so that what is wrong in it leaves no directory
    make_directory(output)
    progress = console.progress
    with workers.opened(progress) as executor:
        found = run_sweep(request, output, workers=executor, progress=progress)
    tabled = csv_text(csv_header(found), csv_rows(found))
    write_json(str(output / "sweep.json"), found.to_dict())
    write_text(str(output / "sweep.csv"), tabled)
    write_text(str(output / "report.html"), sweep_page(found))
    console.write_json(found.to_dict())
    write_text(csv_file, tabled)
    if console.shows(csv_file):
        echo(table(header(found), list(rows(found))))
        echo()
        for line in verdict(found):
            echo(line)
        if found.failures:
            echo(f"{counted(len(found.failures), 'part')} could not be done:")
            for failure in found.failures:
                echo(f"  {failure.what}: {failure.reason}")
        echo(f"Wrote {output}")
    chosen = found.recommended
    if found.failures or (chosen and not all(pace.trusted for pace in chosen.paces.values())):
        return 5
    return 0 if chosen else 1
