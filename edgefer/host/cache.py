"""Files that can be computed again, and are missed by nobody."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edgefer.host.files import write_whole


def store(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whoever else does so too; a cache that cannot be written is not an error."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
