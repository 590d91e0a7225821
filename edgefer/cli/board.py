"""`edgefer board`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from edgefer import board as emulated
from edgefer.board import CPUS, Board
from edgefer.cli.output import Console, echo, output_options, table

SCHEMA = "edgefer.boards/1"
CAUTION = "EMULATED: its milliseconds mean nothing; its results and its instruction counts do."


def parse_port(context: click.Context, option: click.Parameter, value: str) -> int | None:
    """A TCP port that needs no privilege; `auto` is None, any free one."""
    if value == "auto":
        return None
    if value.isascii() and value.isdigit() and 1024 <= int(value) <= 65535:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither auto nor a port from 1024 to 65535")


@click.group(
    epilog="""\b
Examples:
  edgefer board up --cpu cortex-a76     a Raspberry Pi 5, emulated, in about half a minute
  edgefer benchmark BUNDLE --device a76
  edgefer board down a76
"""
)
def board() -> None:
    """Emulate an ARM64 board on this machine, for tests without hardware.

    Needs Linux on x86-64 with Debian's package sources, and root or user namespaces; nothing is installed.
    """


@board.command(
    epilog="""\b
Examples:
  edgefer board up --cpu cortex-a72                      Raspberry Pi 4: NEON without dot products
  edgefer board up --cpu cortex-a76 --name pi5 --port 2222
"""
)
@click.option("--cpu", type=click.Choice(list(CPUS)), required=True, help="What to emulate.")
@click.option("--name", help="What to call it.  [default: the CPU's number, such as a72]")
@click.option(
    "--port",
    metavar="PORT",
    callback=parse_port,
    default="auto",
    show_default=True,
    help="Where its SSH server listens.",
)
@output_options
def up(cpu: str, name: str | None, port: int | None, console: Console) -> int:
    """Bring up a board and wait until it answers to SSH; one that is up is left alone."""
    made = emulated.up(cpu, name, port=port, progress=console.progress)
    if console.shows():
        echo(usage(made))
    console.write_json(document([made]))
    return 0


@board.command(epilog="Example: edgefer board down a72")
@click.argument("name", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Remove all boards.")
@output_options
def down(name: tuple[str, ...], every: bool, console: Console) -> int:
    """Remove boards: their processes, mounts and files; what boards share stays in the cache."""
    if bool(name) == every:
        raise click.UsageError("Give the boards' names, or --all.")
    names = [one.name for one in emulated.boards()] if every else name
    removed = {one: emulated.down(one) for one in names}
    if console.shows():
        for one, there in removed.items():
            echo(f"{one}: {'removed' if there else 'there was none'}")
    console.write_json({"schema": SCHEMA, "removed": [one for one, there in removed.items() if there]})
    return 0


@board.command(name="list", epilog="Example: edgefer board list --json -")
@output_options
def list_boards(console: Console) -> int:
    """Show the emulated boards and whether they run."""
    there = emulated.boards()
    if console.shows():
        rows = [(one.name, one.cpu, str(one.port), "up" if one.running else "stopped") for one in there]
        echo(table(("board", "emulates", "port", "state"), rows) if rows else "no emulated boards")
        if console.verbose:
            echo("\n".join(f"{one.name}: {one.directory}" for one in there))
    console.write_json(document(there))
    return 0


def usage(made: Board) -> str:
    """How to use a board that is up."""
    return "\n".join(
        (
            f"{made.name} is up: {CPUS[made.cpu].model} ({made.cpu}) at {made.user}@{made.host}:{made.port}",
            CAUTION,
            f"  edgefer benchmark BUNDLE --device {made.name}",
            f"  {shlex.join(['ssh', *made.ssh_options, f'{made.user}@{made.host}'])}",
            f"  heat it up:   echo 85000 > {shlex.quote(str(made.temperature_file))}",
            f"  remove it:    edgefer board down {made.name}",
        )
    )


def document(boards: Sequence[Board]) -> dict[str, object]:
    """Plain data for --json."""
    return {"schema": SCHEMA, "boards": [one.to_dict() for one in boards]}
