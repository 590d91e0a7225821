"""`edgefer doctor`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgefer.cli.output import ConsoleProgress, output_options, write_json
from edgefer.doctor import Finding, examine, healthy, to_document
from edgefer.environments import ENVIRONMENTS

COLOURS = {"ok": "green", "warn": "yellow", "missing": "red"}


@click.command(
    epilog="""\b
Examples:
  edgefer doctor                      what is here, and how to mend what is not
  edgefer doctor --install onnx2tf    make the environment that --tflite-backend onnx2tf needs
  edgefer doctor --json -
"""
)
@click.option("--install", type=click.Choice(list(ENVIRONMENTS)), help="Make an isolated environment for this tool.")
@output_options
def doctor(install: str | None, json_file: str | None, quiet: bool, verbose: bool) -> int:
    """Check this machine for what edgefer needs; exit code 1 if something necessary is missing."""
    if install:
        ENVIRONMENTS[install].install(ConsoleProgress(quiet=quiet, verbose=verbose))
    findings = tuple(examine())
    if not quiet and json_file != "-":
        click.echo(report(findings))
    write_json(json_file, to_document(findings))
    return 0 if healthy(findings) else 1


def report(findings: Sequence[Finding]) -> str:
    """One line per finding, and one more for each remedy."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        colour = "yellow" if finding.optional and finding.status == "missing" else COLOURS[finding.status]
        optional = " (optional)" if finding.optional and finding.status != "ok" else ""
        lines.append(
            f"{click.style(f'{finding.status:<7}', colour)}  {finding.name:<{width}}  {finding.detail}{optional}"
        )
        if finding.remedy:
            lines.append(f"{'':{width + 11}}-> {finding.remedy}")
    return "\n".join(lines)
