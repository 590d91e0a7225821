"""`edgefer check`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgefer.cli.output import Console, echo, output_options, table, write_text
from edgefer.errors import UsageError
from edgefer.gates.check import check as run_check
from edgefer.gates.formats import WORDS, reasons, rows, to_annotations, to_junit, to_markdown
from edgefer.gates.results import Check

_COLOURS = {"fail": "red", "unknown": "yellow", "pass": "green"}


@click.command(
    epilog="""\b
Examples:
  edgefer evaluate out --data faces/ --json evaluation.json
  edgefer check out --evaluation evaluation.json --baseline baseline.json --update-baseline
  edgefer check out --evaluation evaluation.json --baseline baseline.json
  edgefer check out --gates gates.toml --benchmark pi4.json --junit gates.xml

\b
Exit codes: 0 every gate passed; 1 one failed; 3 a file unreadable, or about another
bundle; 5 none failed, but there is not enough evidence to tell for one. Accepting by
--update-baseline, what was not measured at all is no lack of evidence.
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="What was accepted before.")
@click.option("--update-baseline", is_flag=True, help="Accept this bundle: write --baseline instead of comparing.")
@click.option("--gates", type=click.Path(path_type=Path), metavar="FILE.toml", help="Gates of your own.")
@click.option(
    "--evaluation", type=click.Path(path_type=Path), metavar="JSON", help="What `edgefer evaluate --json` wrote."
)
@click.option(
    "--benchmark",
    "benchmarks",
    type=click.Path(path_type=Path),
    metavar="JSON",
    multiple=True,
    help="What `edgefer benchmark --json` wrote; once for each run.",
)
@click.option("--junit", "junit_file", metavar="FILE", help="Write JUnit XML.")
@click.option("--markdown", "markdown_file", metavar="FILE", help="Write a summary for a pull request.")
@output_options
def check(
    bundle: Path,
    baseline: Path | None,
    update_baseline: bool,
    gates: Path | None,
    evaluation: Path | None,
    benchmarks: tuple[Path, ...],
    junit_file: str | None,
    markdown_file: str | None,
    console: Console,
) -> int:
    """Judge BUNDLE by gates: bounds on size, accuracy and speed, and on their change since the baseline."""
    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline goes with --baseline FILE")
    if baseline is not None and not update_baseline and not baseline.exists():
        raise UsageError(f"{baseline}: there is no baseline yet", remedy="Accept this bundle with --update-baseline.")
    compared = None if update_baseline else baseline
    found = run_check(bundle, compared, gates=gates, evaluation=evaluation, benchmarks=benchmarks)
    if console.shows(junit_file, markdown_file):
        echo(summary(found, verbose=console.verbose))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        echo(to_annotations(found), nl=False, err="-" in (console.json_file, junit_file, markdown_file))
    console.write_json(found.to_dict())
    write_text(junit_file, to_junit(found))
    write_text(markdown_file, to_markdown(found))
    if update_baseline:
        write_text(str(baseline), found.baseline)
        if not console.quiet:
            echo(f"{baseline}: written; this bundle is what later ones are compared with", err=True)
            for option, what in found.lacking.items():
                echo(
                    f"  it does not say {what}: accept the bundle again with {option}, to have that compared", err=True
                )
        return found.accepted_exit_code
    return found.exit_code


def summary(found: Check, *, verbose: bool) -> str:
    """The table, the reasons, the outcome; gates that do not apply are left out unless `verbose`."""
    header, lines = rows(found)
    shown = [line for line in lines if verbose or line[-1] != WORDS["skip"]]
    heading = click.style(f"{found.name}: gates {WORDS[found.outcome]}", fg=_COLOURS[found.outcome], bold=True)
    told = [f"  {sentence}" for _, sentence in reasons(found)]
    notes = [f"  note: {note}" for note in found.notes]
    left_out = len(lines) - len(shown)
    more = [f"  {left_out} bounds did not apply: -v lists them"] if left_out else []
    return "\n".join((table(header, shown), "", heading, *told, *notes, *more))
