"""What the commands that look at faces in videos share."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.output import Command
from edgefer.faces.detectors import BLAZEFACE


def looking_options(command: Command) -> Command:
    """Add --detector, --boxes and --format to a command."""
    for option in (
        click.option(
            "--format",
            type=click.Choice(["tflite", "onnx"]),
            default="tflite",
            show_default=True,
            help="Artifact to run.",
        ),
        click.option(
            "--boxes",
            type=click.Path(path_type=Path),
            metavar="CSV",
            help="Faces that are known: frame,x,y,w,h[,source].",
        ),
        click.option(
            "--detector",
            default=BLAZEFACE,
            show_default=True,
            metavar="NAME|FILE.onnx",
            help="blazeface (fetched once), the file of a YuNet network, or none for pictures that are faces.",
        ),
    ):
        command = option(command)
    return command
