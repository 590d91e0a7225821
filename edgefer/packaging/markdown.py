"""Text from outside, made safe to show in Markdown: it stays text, and on its line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgefer.host.text import printable

_EDGE_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
"""Those that Markdown takes for emphasis; inside a word they are letters."""


def plain(text: str) -> str:
    """`text` with nothing in it that Markdown takes for markup."""
    text = printable(text)
    for character in "\\|`*[#":
        text = text.replace(character, f"\\{character}")
    return _EDGE_UNDERSCORE.sub(r"\\_", text.replace("<", "&lt;"))


def code(text: str) -> str:
    """`text` as code."""
    return f"`{printable(text).replace('`', ' ').replace('|', ' ')}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column to the left and the others to the right, and an empty line; cells are Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A table of names and values without a head, and an empty line; both are Markdown."""
    return "".join(f"| {name} | {value} |\n" for name, value in [("", ""), ("---", "---"), *pairs]) + "\n"
