"""`edgefer package`."""

from __future__ import annotations

from pathlib import Path

import click

from edgefer.cli.output import Console, echo, output_options
from edgefer.host.text import printable
from edgefer.host.units import format_size
from edgefer.packaging.package import package as run_package


@click.command(
    epilog="""\b
Examples:
  edgefer package fer_b0_bundle -o app.zip
  edgefer package fer_b0_bundle -o app.zip --evaluation e.json --licence Apache-2.0
  edgefer package fer_b0_bundle -o app.zip --policy policy.json
  edgefer package fer_b0_bundle -o app.zip --sign-key ~/.ssh/id_ed25519 --browser-demo
"""
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE.zip", help="The package.")
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    metavar="E.json",
    help="What `edgefer evaluate BUNDLE --json` wrote, for the model card; without it the card says: not evaluated.",
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="P.json",
    help="On which frames apps ask the network: what `edgefer policy BUNDLE` wrote; on every frame without it.",
)
@click.option("--licence", default="", metavar="NAME", help="Licence of the network, such as Apache-2.0.")
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    metavar="FILE.md",
    help="What its makers say for the model card: training data, known limits, whom to ask.",
)
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="OpenSSH key for a detached signature, FILE.zip.sig.",
)
@click.option(
    "--browser-demo",
    is_flag=True,
    help="Bundle onnxruntime-web (14 MB) and BlazeFace (1 MB), fetched once, so that the demo page runs offline.",
)
@output_options
def package(
    bundle: Path,
    output: Path,
    evaluation: Path | None,
    policy: Path | None,
    licence: str,
    about: Path | None,
    sign_key: Path | None,
    browser_demo: bool,
    console: Console,
) -> int:
    """Make the zip that app developers receive: artifacts, contract, golden tests, samples, papers."""
    made = run_package(
        bundle,
        output,
        evaluation=evaluation,
        policy=policy,
        licence=licence,
        about=about,
        sign_key=sign_key,
        browser_demo=browser_demo,
        progress=console.progress,
    )
    if console.shows():
        echo(f"{printable(str(made.path))}: {len(made.files)} files, {format_size(made.bytes)}, SHA-256 {made.sha256}")
        for name, size in made.files.items() if console.verbose else ():
            echo(f"  {size:>12,}  {printable(name)}")
        if made.signature:
            echo(f"{printable(str(made.signature))}: its signature")
        if evaluation is None:
            echo("The model card says: not evaluated.  --evaluation E.json puts the figures in.")
    console.write_json(made.to_dict())
    return 0
