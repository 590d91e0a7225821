"""`edgefer evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.bundle import Bundle
from edgefer.cli.output import Console, echo, output_options, table, write_text
from edgefer.cli.workers import Workers, worker_options
from edgefer.evaluation.evaluate import evaluate as run_evaluate
from edgefer.evaluation.results import Evaluation
from edgefer.evaluation.summary import abaw_rows, abaw_title, rows, runtimes, title, to_csv, to_markdown, verdict
from edgefer.images import open_images
from edgefer.report import evaluation_report

EXIT_CODES = {True: 0, False: 1, None: 5}
"""By whether all bounds held."""


@click.command(
    epilog="""\b
Examples:
  edgefer evaluate fer_b0_bundle --data faces/
  edgefer evaluate fer_b0_bundle --data faces.npz --report report.html --markdown summary.md
  edgefer evaluate affect_bundle --data faces/ --targets valence_arousal.csv
  edgefer evaluate fer_b0_bundle --data shards/ --cluster tcp://host:8786

\b
Exit codes: 0 all bounds held; 1 one did not; 3 bundle altered or data unreadable;
5 interrupted, the cluster gone (what was done is kept), or too few labelled images:
one of them weighs more than the bound (fewer than 200, for half a point).
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR|ZIP|TAR|NPZ",
    help="Images to use, in sequences where the network looks at those.",
)
@click.option(
    "--targets",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Targets per image: file,valence,arousal,... (columns named like the network's labels).",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0, min_open=True),
    metavar="POINTS",
    help="Accuracy that an artifact may lose, in percentage points; the bundle's own bound, or 0.5, by default.",
)
@click.option("--samples", type=click.IntRange(min=1), help="Use so many images, spread evenly over the set.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write what each model says about each image.")
@click.option("--markdown", "markdown_file", metavar="FILE", help="Write a summary for a pull request.")
@click.option(
    "--report", "report_file", metavar="FILE.html", help="Write a page with charts, one file that needs nothing else."
)
@click.option("--with-images", is_flag=True, help="Show the images that changed most in the report: these are faces.")
@worker_options
@output_options
def evaluate(
    bundle: Path,
    data: Path,
    targets: Path | None,
    max_drop: float | None,
    samples: int | None,
    csv_file: str | None,
    markdown_file: str | None,
    report_file: str | None,
    with_images: bool,
    workers: Workers,
    console: Console,
) -> int:
    """Measure how far the artifacts of BUNDLE are from the float network, on images."""
    if with_images and report_file is None:
        raise click.UsageError("--with-images goes with --report FILE.html")
    progress = console.progress

    def save(evaluation: Evaluation) -> None:
        console.write_json(evaluation.to_dict())
        write_text(csv_file, to_csv(evaluation))
        write_text(markdown_file, to_markdown(evaluation))
        if report_file is not None:
            images = open_images(data) if with_images else None
            write_text(report_file, evaluation_report(Bundle.open(bundle).manifest, evaluation, images))

    try:
        with workers.opened(progress) as executor:
            evaluation = run_evaluate(
                bundle,
                data,
                targets=targets,
                max_drop=max_drop,
                samples=samples,
                workers=executor,
                progress=progress,
                save=save,
            )
    except KeyboardInterrupt:
        echo("the images done so far are kept: the same command goes on from there", err=True)
        raise
    if console.shows(csv_file, markdown_file):
        echo(summary(evaluation))
    return EXIT_CODES[evaluation.verdict.held]


def summary(evaluation: Evaluation) -> str:
    """Tables of all heads on all parts of the data, the runtimes, the verdict."""
    lines = []
    for part in evaluation.parts:
        for head in part.heads:
            lines += ["", click.style(title(part, head), bold=True), table(*rows(head))]
        if part.abaw is not None:
            lines += ["", click.style(abaw_title(part), bold=True), table(*abaw_rows(part))]
    held = evaluation.verdict.held
    colour, word = {True: ("green", "held"), False: ("red", "broken"), None: ("yellow", "not judged")}[held]
    heading = click.style(f"bounds {word}", fg=colour, bold=True)
    return "\n".join((*lines, "", *runtimes(evaluation), "", heading, *(f"  {line}" for line in verdict(evaluation))))
