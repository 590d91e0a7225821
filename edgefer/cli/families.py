"""`edgefer families`."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import fill

import click

from edgefer.cli.output import Console, echo, output_options
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
def families(console: Console) -> int:
    """List the families of networks whose checkpoints are read as they are published.

    A file's family is recognised by its tensors; `convert --family NAME` chooses it.
    """
    found = described_families()
    if console.shows():
        wide = max(len(family.name) for family in found) + 2
        for family in found:
            indent = " " * wide
            echo(fill(family.reads, WIDTH, initial_indent=family.name.ljust(wide), subsequent_indent=indent))
    console.write_json([asdict(family) for family in found])
    return 0
