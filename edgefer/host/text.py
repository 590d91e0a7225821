"""Names from outside, made safe to show on a terminal and to use for files, and put in order."""

from __future__ import annotations

import re


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped: one line, and it cannot move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def by_numbers(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, so that 10.jpg follows 9.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def file_stem(text: str) -> str:
    """`text` with `_` for what is not printable, and for separators of paths."""
    return "".join(c if c.isprintable() and c not in "/\\" else "_" for c in text)
