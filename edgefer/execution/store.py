"""Results on disk, by the digest of what they depend on: what is done is not done again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edgefer.host import cache
from edgefer.host.directories import cache_directory

_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Store:
    """Results of one task; one that cannot be written or read is made again."""

    folder: Path

    @classmethod
    def of(cls, task: str) -> Store:
        """In the cache: the store of the task, versions of tools included, that `task` is a digest of."""
        return cls(cache_directory() / "results" / task[:32])

    def load(self, key: str) -> bytes | None:
        """The result of a job, None when there is none that is whole."""
        try:
            stored = (self.folder / key).read_bytes()
        except OSError:
            return None
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        return content if sha256(content).digest() == digest else None

    def save(self, key: str, content: bytes) -> None:
        """Keep a result: all of it, or nothing."""
        cache.store(self.folder / key, sha256(content).digest() + content)

    def forget(self, keys: Iterable[str]) -> None:
        """Of these jobs."""
        for key in keys:
            (self.folder / key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all results."""
        shutil.rmtree(self.folder, ignore_errors=True)
