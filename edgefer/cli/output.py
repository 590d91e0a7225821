"""What all commands share in talking to people and to programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import click

from edgefer.errors import InputError
from edgefer.host.files import write_whole
from edgefer.host.progress import Advance
from edgefer.host.text import printable

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Console:
    """Who is told what: what --json, -q and -v ask for."""

    json_file: str | None
    quiet: bool
    verbose: bool

    @property
    def progress(self) -> ConsoleProgress:
        """Tells of long work."""
        return ConsoleProgress(quiet=self.quiet, verbose=self.verbose)

    def shows(self, *files: str | None) -> bool:
        """Whether the result is printed for people: not where standard output is for it, or for one of `files`."""
        return not self.quiet and "-" not in (self.json_file, *files)

    def write_json(self, document: Any) -> None:
        """Write `document` where --json asked for it.

        Raises:
            InputError: the file cannot be written.
        """
        write_json(self.json_file, document)


def output_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add --json, -q and -v to a command, which takes them as its `console`."""

    @wraps(command)
    def with_console(*, json_file: str | None, quiet: bool, verbose: bool, **others: object) -> int:
        return command(console=Console(json_file, quiet, verbose), **others)

    for option in (
        click.option("-v", "--verbose", is_flag=True, callback=_remember, help="Say more about what is done."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--json",
            "json_file",
            metavar="FILE",
            callback=_check_file,
            help="Write the result as JSON; - for standard output.",
        ),
    ):
        with_console = option(with_console)
    return with_console


def directory_option(command: Command) -> Command:
    """Add -o, a directory for results."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="OUT", help="Directory to make."
    )(command)


def echo(text: str = "", *, nl: bool = True, err: bool = False) -> None:
    """Print; where the reader has gone (`| head -1`), print nothing more, and let the work go on.

    Raises:
        OSError: it cannot be printed, as on a full disk; nothing more is.
    """
    try:
        click.echo(text, nl=nl, err=err)
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what is still in a buffer would fail again at the end
        os.dup2(nowhere, (sys.stderr if err else sys.stdout).fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise


def write_json(file: str | None, document: Any) -> None:
    """Write `document` where --json asked for it.

    Raises:
        InputError: the file cannot be written.
    """
    if file is not None:
        write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_text(file: str | None, text: str) -> None:
    """Write `text` to a file, all of it or nothing; `-` is standard output, None nowhere.

    Links and devices (/dev/stderr) are written to, not replaced.

    Raises:
        InputError: the file cannot be written.
    """
    if file is None:
        return
    if file == "-":
        echo(text, nl=False)
        return
    path = Path(file)
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_text(text, "utf-8")
        else:
            write_whole(path, text)
    except BrokenPipeError:
        return
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error


def _remember(context: click.Context, option: click.Parameter, verbose: bool) -> bool:
    """Tell `main`, which shows errors, too."""
    context.ensure_object(dict)["verbose"] = verbose
    return verbose


def make_directory(path: Path) -> None:
    """Make a directory for results, before any work is done; one that is there is written into.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be made: {reason}", remedy="Choose another directory with -o.") from error


def _check_file(context: click.Context, option: click.Parameter, file: str | None) -> str | None:
    """Refuse, before any work is done, a file that cannot be made."""
    if file is not None and file != "-" and (Path(file).is_dir() or not Path(file).parent.is_dir()):
        raise click.BadParameter(f"{file!r} cannot be made: it is a directory, or lies in none")
    return file


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
                echo(f"\r  {name:<24} {'#' * filled:<24} {done}/{total}", nl=False, err=True)

        if self._live:
            echo(f"  {name:<24}", nl=False, err=True)
        try:
            yield advance
        except BaseException:
            if self._live:
                echo(err=True)
            raise
        if not self._quiet:
            self._line(f"{name:<24} {perf_counter() - start:6.1f} s")

    def note(self, message: str) -> None:
        """Print a remark on a line of its own."""
        if not self._quiet:
            self._line(f"{click.style('note:', fg='yellow')} {printable(message)}")

    def detail(self, message: str) -> None:
        """Print a fact on a line of its own, where the user asked for more."""
        if self._verbose:
            self._line(printable(message))

    def _line(self, text: str) -> None:
        echo(f"{self._erase}  {text}", err=True)
