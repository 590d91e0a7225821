"""Tables as CSV, read and written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgefer.errors import InputError


@contextmanager
def csv_rows(path: Path, wanted: str, *, remedy: str = "") -> Iterator[Iterator[Mapping[str, str]]]:
    """The rows of a file, each by the names of its columns.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        wanted: what it should be, such as `a table with columns file and time_s`.
        remedy: what to do where it is something else.

    Raises:
        InputError: it cannot be read, or what is done with its rows raises LookupError, TypeError or ValueError.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.DictReader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not {wanted}: {error}", remedy=remedy) from error


def csv_text(header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as CSV; text that a spreadsheet would take for a formula begins with an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "@", "+", "\t", "\r") else cell for cell in row])
    return file.getvalue()
