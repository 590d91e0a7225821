"""`edgefer families`."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import fill

import click

from edgefer.cli.output import echo, output_options, write_json
from edgefer.networks.families import described_families

WIDTH = 100


@click.command(
    epilog="""\b
Examples:
  edgefer families
  edgefer convert dan.pth --family dan --calibration faces/
"""
)
@output_options
def families(json_file: str | None, quiet: bool, verbose: bool) -> int:
    """List the families of networks whose checkpoints are read as they are published.

    A file's family is recognised by its tensors; `convert --family NAME` chooses it.
    """
    found = described_families()
    if not quiet and json_file != "-":
        wide = max(len(family.name) for family in found) + 2
        for family in found:
            indent = " " * wide
            echo(fill(family.reads, WIDTH, initial_indent=family.name.ljust(wide), subsequent_indent=indent))
    write_json(json_file, [asdict(family) for family in found])
    return 0
