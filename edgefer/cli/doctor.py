"""`edgefer doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from edgefer.cli.output import Console, echo, output_options
from edgefer.host.detector_weights import DETECTOR, blazeface_weights
from edgefer.host.doctor import Finding, examine, healthy, to_document
from edgefer.host.environments import ENVIRONMENTS

COLOURS = {"ok": "green", "warn": "yellow", "missing": "red"}


@click.command(
    epilog="""\b
Examples:
  edgefer doctor                      what is here, and how to mend what is not
  edgefer doctor --install onnx2tf    make the environment that --tflite-backend onnx2tf needs
  edgefer doctor --install detector   fetch the face detector that edgefer run needs
  edgefer doctor --device pi5         what a board lacks for edgefer benchmark
  edgefer doctor --json -
"""
)
@click.option(
    "--install",
    type=click.Choice([*ENVIRONMENTS, DETECTOR]),
    help="Make an isolated environment for this tool, or fetch the face detector of `edgefer run`.",
)
@click.option("--device", metavar="NAME|USER@HOST", help="Check this board instead of this machine.")
@output_options
def doctor(install: str | None, device: str | None, console: Console) -> int:
    """Check this machine, or a board, for what edgefer needs; exit code 1 if something necessary is missing."""
    if install == DETECTOR:
        blazeface_weights()
    elif install:
        ENVIRONMENTS[install].install(console.progress)
    findings = tuple(examine() if device is None else _examine_device(device))
    if console.shows():
        echo(report(findings))
    console.write_json(to_document(findings))
    return 0 if healthy(findings) else 1


def _examine_device(name: str) -> Iterator[Finding]:
    """Import only what a board needs, and only for a board: without, this works where nothing is installed."""
    from edgefer.device.checks import examine_device
    from edgefer.device.registry import find_device

    return examine_device(find_device(name))


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
