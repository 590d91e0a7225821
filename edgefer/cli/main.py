"""The `edgefer` command."""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module

import click

from edgefer.cli.output import echo
from edgefer.errors import EdgeferError, InputError
from edgefer.host.interruption import interruptible
from edgefer.host.text import printable

INTERRUPTED = 5

COMMANDS = {
    "convert": "Make int8 TFLite and ONNX artifacts of a trained network.",
    "evaluate": "Measure how far a bundle's artifacts are from the float network.",
    "check": "Judge a bundle by gates, and against the one accepted before.",
    "package": "Make the zip that app developers receive.",
    "verify": "Make sure that a package is unaltered and by its maker.",
    "run": "Find faces in videos, and write what a bundle says of them over time.",
    "aggregate": "Sum up what many viewers of one stimulus showed.",
    "policy": "Find how few frames of a video the network must be asked on.",
    "sweep": "Try networks and options beside each other, on images and boards.",
    "benchmark": "Time a bundle's artifacts on boards, and compare what they compute there.",
    "inspect": "Show what a bundle's artifacts, or a network, are made of.",
    "families": "List the networks whose files are read as they are published.",
    "board": "Emulate an ARM board on this machine, for tests without hardware.",
    "devices": "Name and prepare the boards to measure on.",
    "doctor": "Tell what is installed, and how to mend what is not.",
}


class LazyGroup(click.Group):
    """Imports a command when it is used: `doctor` must work where the runtimes are missing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"edgefer.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  edgefer convert                                   the bundled network, to try it out
  edgefer convert model.onnx --calibration faces/   a network of your own
""",
)
@click.version_option(package_name="edgefer")
def cli() -> None:
    """Put a trained facial-expression network on phones and ARM boards."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that the outcome has.

    SIGTERM, as of a cancelled CI job, is Ctrl-C: what was begun is taken back, and the code is that of an interruption.
    """
    asked: dict[str, bool] = {}
    try:
        with interruptible():
            words = None if arguments is None else list(arguments)
            code = cli.main(words, prog_name="edgefer", standalone_mode=False, obj=asked)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.secho("interrupted", fg="red", err=True)
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (EdgeferError, OSError, MemoryError) as error:
        told = _told(error, detailed=asked.get("verbose", False))
        echo(f"{click.style('error:', fg='red', bold=True)} {told}", err=True)
        code = error.exit_code if isinstance(error, EdgeferError) else InputError.exit_code
    sys.exit(code or 0)


def _told(error: Exception, *, detailed: bool) -> str:
    """What went wrong, for people: the system's own errors name the file."""
    if isinstance(error, EdgeferError):
        remedy = error.remedy.split("\n") if error.remedy else []
        detail = error.detail.splitlines() if detailed else ["-v shows more."] if error.detail else []
        return "\n".join([printable(error.message), *(f"  {printable(line)}" for line in (*remedy, *detail))])
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        there = f"temporary files are in {tempfile.gettempdir()}: {error.strerror}"
        return printable(there) + "\n  Free some space there, or set TMPDIR to another directory."
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return "not enough memory" if isinstance(error, MemoryError) else printable(str(error))
