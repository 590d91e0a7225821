"""`edgefer run`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgefer.bundle import Bundle
from edgefer.cli.looking import looking_options
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
from edgefer.errors import UsageError
from edgefer.host.csv_tables import csv_text
from edgefer.host.text import counted
from edgefer.report import run_report
from edgefer.timeline.policy import read_policy
from edgefer.timeline.results import Run
from edgefer.timeline.run import RunOptions
from edgefer.timeline.run import run as run_sources
from edgefer.timeline.smoothing import GAP_S, NARROW_S, WIDE_S, Smoothing
from edgefer.timeline.tables import event_header, event_rows, frame_header, frame_rows, live_line

LAW = (
    "these are scores of people's faces. In the EU, inferring emotions at work or in education is forbidden, and "
    "elsewhere people must be told; write how they agreed with --consent, which summary.json then carries"
)


@click.command(
    epilog="""\b
Examples:
  edgefer run fer_b0_bundle interview.mp4 -o out
  edgefer run fer_b0_bundle viewers/ -o out --consent "signed, form 12"
  edgefer run fer_b0_bundle camera:0 --live --causal --duration 60 -o out

\b
OUT holds frames.csv (a row for every frame), events.csv, summary.json and report.html.
Neither pixels nor embeddings of faces are kept.

\b
Exit codes: 0 done; 2 wrong usage; 3 no source, bundle or detector that can be read;
5 interrupted (what was done is kept: the same command goes on from there), or some
of the sources could not be read.
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@directory_option
@looking_options
@click.option(
    "--detect-every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Detect on every so many frames; optical flow carries faces on between.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Ask the network on every so many frames.",
)
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="Ask as often as the answer needs: what `edgefer policy` wrote.",
)
@click.option("--faces", type=click.IntRange(min=1), metavar="N", help="Follow the N largest faces; all by default.")
@click.option("--causal", is_flag=True, help="Smooth by what came before alone, as live use must: scores lag.")
@click.option(
    "--smooth",
    type=click.FloatRange(min=0),
    default=WIDE_S,
    show_default=True,
    metavar="SECONDS",
    help="Half the width of the mean for expressions, valence and arousal.",
)
@click.option(
    "--smooth-units",
    type=click.FloatRange(min=0),
    default=NARROW_S,
    show_default=True,
    metavar="SECONDS",
    help="The same for action units.",
)
@click.option(
    "--gap",
    type=click.FloatRange(min=0),
    default=GAP_S,
    show_default=True,
    metavar="SECONDS",
    help="Longest time out of sight that is bridged.",
)
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Of folders of pictures that have no times.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Then leave a camera.")
@click.option(
    "--live",
    is_flag=True,
    help="Print a line of JSON for each face in each frame as it comes, scores smoothed by what came before.",
)
@click.option("--consent", default="", metavar="TEXT", help="How those who are seen agreed; kept in summary.json.")
@worker_options
@output_options
def run(
    bundle: Path,
    sources: tuple[str, ...],
    output: Path,
    detector: str,
    boxes: Path | None,
    detect_every: int,
    stride: int,
    policy_file: Path | None,
    faces: int | None,
    causal: bool,
    smooth: float,
    smooth_units: float,
    gap: float,
    format: str,
    fps: float | None,
    duration: float | None,
    live: bool,
    consent: str,
    workers: Workers,
    console: Console,
) -> int:
    """Find faces in videos, and write what BUNDLE says of them over time."""
    if live and console.json_file == "-":
        raise UsageError("--live and --json - would both write to standard output")
    progress = console.progress
    if not consent:
        progress.note(LAW)
    opened = Bundle.open(bundle)
    spec = opened.spec
    make_directory(output)
    options = RunOptions(
        format=format,
        detector=detector,
        boxes=boxes,
        detect_every=detect_every,
        stride=stride,
        policy=read_policy(policy_file) if policy_file else None,
        most_faces=faces,
        smoothing=Smoothing(
            "causal" if causal else "centred",
            {
                "expression": smooth,
                "valence_arousal": smooth,
                "classes": smooth,
                "other": smooth,
                "action_units": smooth_units,
            },
            gap,
        ),
        fps=fps,
        duration_s=duration,
    )

    def save(found: Run) -> None:
        with progress.stage("write"):
            _write(output, opened, found)
        console.write_json(found.to_dict())

    with workers.opened(progress, here=live) as executor:
        found = run_sources(
            opened,
            sources,
            options=options,
            consent=consent,
            workers=executor,
            progress=progress,
            tell=(lambda told: echo(json.dumps(live_line(told, spec), ensure_ascii=False))) if live else None,
            save=save,
        )
    if console.shows() and not live:
        echo(_summary(found))
        echo(f"Wrote {output}")
    return 5 if found.failures else 0


def _write(output: Path, bundle: Bundle, found: Run) -> None:
    spec = bundle.spec
    rows = (row for each in found.timelines for row in frame_rows(each.observed, spec, each.lines))
    write_text(str(output / "frames.csv"), csv_text(frame_header(spec), rows))
    happened = (event for each in found.timelines for event in each.events)
    write_text(str(output / "events.csv"), csv_text(event_header(), event_rows(happened)))
    write_json(str(output / "summary.json"), found.to_dict())
    write_text(str(output / "report.html"), run_report(bundle.manifest, found))


def _summary(found: Run) -> str:
    header = ("source", "frames", "seconds", "with a face", "faces", "inferences", "events", "mostly")
    rows = []
    for timeline in found.timelines:
        summary = timeline.summary
        shares = summary.faces[0].expressions if summary.faces else {}
        top = max(shares, key=lambda label: shares[label], default="")
        rows.append(
            (
                summary.source,
                f"{summary.frames:,}",
                f"{summary.duration_s:.1f}",
                f"{100 * summary.with_face / summary.frames:.1f} %",
                str(len(summary.faces)),
                f"{summary.inferences:,}",
                str(len(timeline.events)),
                f"{top} {100 * shares[top]:.0f} %" if top else "",
            )
        )
    lines = [table(header, rows)]
    if found.failures:
        lines.append(f"{counted(len(found.failures), 'source')} could not be read:")
        lines += [f"  {failure.source}: {failure.reason}" for failure in found.failures]
    return "\n".join(lines)
