"""`edgefer aggregate`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.output import Console, directory_option, echo, make_directory, output_options, write_json, write_text
from edgefer.cli.workers import Workers, worker_options
from edgefer.host.csv_tables import csv_text
from edgefer.host.text import counted
from edgefer.report.aggregate import aggregate_report
from edgefer.timeline.aggregate import (
    BIN_S,
    THRESHOLD,
    curve_header,
    curve_rows,
    part_header,
    part_rows,
)
from edgefer.timeline.aggregate import aggregate as run_aggregate


@click.command(
    epilog="""\b
Examples:
  edgefer run fer_b0_bundle viewers/ -o seen
  edgefer aggregate seen -o audience
  edgefer aggregate monday tuesday --markers scenes.csv --title "Spring advert" -o audience

\b
Each source of a run is one viewer; of several faces, the one that is seen longest.
OUT holds curves.csv, parts.csv (with --markers: name,start_s,end_s), aggregate.json and
report.html. Viewers who are seen for less than 70 % of the time are left out and named;
moments with fewer than five viewers are not shown.

\b
Exit codes: 0 done; 2 wrong usage; 3 a run that cannot be read; 5 too few viewers.
"""
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@directory_option
@click.option("--markers", type=click.Path(path_type=Path), metavar="CSV", help="Parts: name,start_s,end_s.")
@click.option("--title", default="What the audience saw", show_default=True, help="Of the page.")
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Of what was seen; the median of the viewers' recordings by default.",
)
@click.option(
    "--bin",
    "bin_s",
    type=click.FloatRange(min=0, min_open=True),
    default=BIN_S,
    show_default=True,
    metavar="SECONDS",
    help="Averaged over.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=THRESHOLD,
    show_default=True,
    help="From which score on a viewer shows something.",
)
@worker_options
@output_options
def aggregate(
    runs: tuple[Path, ...],
    output: Path,
    markers: Path | None,
    title: str,
    duration: float | None,
    bin_s: float,
    threshold: float,
    workers: Workers,
    console: Console,
) -> int:
    """Sum up what viewers of one stimulus showed, from runs over their recordings."""
    progress = console.progress
    with workers.opened(progress) as executor:
        found = run_aggregate(
            runs,
            markers=markers,
            duration_s=duration,
            bin_s=bin_s,
            threshold=threshold,
            workers=executor,
            progress=progress,
        )
    make_directory(output)
    write_text(str(output / "curves.csv"), csv_text(curve_header(), curve_rows(found)))
    if found.parts:
        write_text(str(output / "parts.csv"), csv_text(part_header(), part_rows(found)))
    write_json(str(output / "aggregate.json"), found.to_dict())
    write_text(str(output / "report.html"), aggregate_report(title, found))
    console.write_json(found.to_dict())
    if console.shows():
        echo(f"{counted(len(found.counted), 'viewer')} counted, {len(found.left_out)} left out")
        for name, reason in found.left_out:
            echo(f"  {name}: {reason}")
        for peak in found.peaks:
            echo(f"  {peak.score}: {peak.mean:.2f} at {peak.time_s:.1f} s")
        echo(f"Wrote {output}")
    return 0
