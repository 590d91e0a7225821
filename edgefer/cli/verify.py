"""`edgefer verify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.output import Console, echo, output_options
from edgefer.host.text import printable
from edgefer.host.units import format_size
from edgefer.packaging.verify import verify as run_verify


@click.command(
    epilog="""\b
Examples:
  edgefer verify app.zip --key maker.pub      unaltered, and signed by its maker
  edgefer verify app.zip                      whole, and safe to unpack; who made it is not checked

\b
Exit codes: 0 all holds; 2 wrong usage; 3 altered, unsafe to unpack, or not signed by the key.
"""
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.zip")
@click.option("--key", type=click.Path(path_type=Path), metavar="KEY.pub", help="Public OpenSSH key of its maker.")
@click.option(
    "--signature", type=click.Path(path_type=Path), metavar="FILE.sig", help="Its signature; FILE.zip.sig by default."
)
@output_options
def verify(file: Path, key: Path | None, signature: Path | None, console: Console) -> int:
    """Make sure that a package is whole, unaltered, safe to unpack, and signed by its maker."""
    if signature is not None and key is None:
        raise click.UsageError("--signature goes with --key KEY.pub")
    held = run_verify(file, key=key, signature=signature)
    if console.shows():
        echo(f"{printable(str(file))}: {len(held.files)} files, {format_size(held.bytes)}, SHA-256 {held.sha256}")
        for name, size in held.files.items() if console.verbose else ():
            echo(f"  {size:>12,}  {printable(name)}")
        signed = click.style("signed", fg="green") + f" by the owner of {printable(str(key))}"
        unsigned = click.style("signature not checked", fg="yellow") + ": --key KEY.pub tells who made it"
        echo(f"whole and safe to unpack; {signed if held.signed else unsigned}")
    console.write_json(held.to_dict())
    return 0
