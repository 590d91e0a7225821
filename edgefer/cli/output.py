"""What all commands share in talking to people and to programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import click

from edgefer.errors import InputError
from edgefer.progress import Advance

Command = TypeVar("Command", bound=Callable[..., Any])


def output_options(command: Command) -> Command:
    """Add --json, -q and -v to a command."""
    for option in (
        click.option("-v", "--verbose", is_flag=True, help="Say more about what is done."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON; - for standard output."),
    ):
        command = option(command)
    return command


def write_json(file: str | None, document: Any) -> None:
    """Write `document` where --json asked for it.

    Raises:
        InputError: the file cannot be written.
    """
    if file is not None:
        write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_text(file: str | None, text: str) -> None:
    """Write `text` to a file, all of it or nothing; `-` is standard output, None nowhere.

    Raises:
        InputError: the file cannot be written.
    """
    if file is None:
        return
    if file == "-":
        click.echo(text, nl=False)
        return
    path = Path(file)
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_text(text, "utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = (
            cell.ljust(w) if column == 0 else cell.rjust(w)
            for column, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


class ConsoleProgress:
    """One line per stage with its time, on standard error; a bar while it lasts on a terminal only."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._live = sys.stderr.isatty() and not quiet
        self._erase = "\r\x1b[K" if self._live else ""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Show the stage while it runs, and its time when it is done."""
        start = perf_counter()
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            if self._live and total:
                filled = 24 * done // total
                click.echo(f"\r  {name:<24} {'#' * filled:<24} {done}/{total}", nl=False, err=True)

        if self._live:
            click.echo(f"  {name:<24}", nl=False, err=True)
        try:
            yield advance
        except BaseException:
            if self._live:
                click.echo("", err=True)
            raise
        if not self._quiet:
            self._line(f"{name:<24} {perf_counter() - start:6.1f} s")

    def note(self, message: str) -> None:
        """Print a remark on a line of its own."""
        if not self._quiet:
            self._line(f"{click.style('note:', fg='yellow')} {message}")

    def detail(self, message: str) -> None:
        """Print a fact on a line of its own, where the user asked for more."""
        if self._verbose:
            self._line(message)

    def _line(self, text: str) -> None:
        click.echo(f"{self._erase}  {text}", err=True)
