"""Files that can be computed again: written whole or not at all, and missed by nobody."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def store(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whoever else does so too; a cache that cannot be written is not an error."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(scratch).replace(path)
        finally:
            Path(scratch).unlink(missing_ok=True)
