"""A table of results that is written row by row, so that a run that ends early has what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measured import digest, read, signed


class Table:
    """A Markdown table under a text, signed after each row.

    Rows of an earlier run stay where edgefer's sources are what they were, but for those that are measured again.
    """

    def __init__(
        self, path: Path, text: str, columns: Mapping[str, str], rooms: Sequence[str], named_by: int = 1
    ) -> None:
        """Read what an earlier run left.

        Args:
            path: of the Markdown file.
            text: above the table, Markdown.
            columns: their names, and `l` or `r` for where their cells stand.
            rooms: directories of edgefer that the figures are about.
            named_by: so many of the first cells tell rows apart.
        """
        self._path, self._text, self._rooms, self._named_by = path, text, rooms, named_by
        rules = {"l": "---", "r": "---:"}
        self._head = [_line(list(columns)), "|" + "".join(f"{rules[side]}|" for side in columns.values())]
        self._rows: dict[tuple[str, ...], str] = {}
        before = path.read_text("utf-8") if path.is_file() else ""
        if (found := read(before)) is not None and found.digest == digest(rooms):
            lines = [line for line in before.splitlines() if line.startswith("| ")][1:]
            self._rows = {self._key([cell.strip() for cell in line.split("|")[1:]]): line for line in lines}

    def has(self, *key: str) -> bool:
        """Whether a row with these first cells is there."""
        return key in self._rows

    def add(self, *cells: str) -> None:
        """Write the table with a row, instead of one of the same name, and show it."""
        self._rows[self._key(cells)] = _line(cells)
        lines = [self._text, "", *self._head, *self._rows.values()]
        self._path.write_text(signed("\n".join(lines), *self._rooms), "utf-8")
        print(_line(cells), flush=True)

    def _key(self, cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[: self._named_by])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
