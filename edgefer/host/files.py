"""Files that are written whole or not at all: what stood there before gives way only to all of the new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which takes its place if nothing is raised, and is gone if something is."""
    scratch = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Put `content`, text as UTF-8, at `path`.

    Raises:
        OSError: it cannot be written; what stood there still does.
    """
    with replacing(path) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
