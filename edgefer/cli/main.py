"""The `edgefer` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from edgefer.cli.convert import convert
from edgefer.cli.doctor import doctor
from edgefer.errors import EdgeferError

INTERRUPTED = 5


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="edgefer")
def cli() -> None:
    r"""Put a trained facial-expression network on phones and ARM boards.

    \b
    edgefer convert model.onnx --calibration faces/   int8 TFLite and ONNX under a size budget
    edgefer doctor                                    what is installed, and how to mend what is not
    """


cli.add_command(convert)
cli.add_command(doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that the outcome has."""
    try:
        code = cli.main(list(arguments) if arguments is not None else None, prog_name="edgefer", standalone_mode=False)
    except click.exceptions.Abort:
        click.secho("interrupted: nothing was written", fg="red", err=True)
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except EdgeferError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone: nothing more can be said to it
        code = 0
    sys.exit(code or 0)
