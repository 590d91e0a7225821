"""What shrinking has come to so far, kept on disk, so that an interrupted run goes on to the same result."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefer.graph.ir import Array
from edgefer.host import cache
from edgefer.host.directories import cache_directory

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Entry:
    """One step of a run."""

    journal: Journal
    step: str

    def read(self) -> Arrays | None:
        """As the journal does."""
        return self.journal.read(self.step)

    def write(self, arrays: Arrays) -> None:
        """Likewise."""
        self.journal.write(self.step, arrays)


class Journal:
    """Steps of one run by name, each as arrays; a step under way is overwritten as it gets on."""

    def __init__(self, key: str) -> None:
        """Open, or begin, that of a run.

        Args:
            key: of all that its result depends on.
        """
        self._folder = cache_directory() / "shrink" / key

    @property
    def is_begun(self) -> bool:
        """Whether a run was interrupted."""
        return self._folder.is_dir()

    def read(self, step: str) -> Arrays | None:
        """What a step came to; None where it did not, or what is there is damaged."""
        try:
            with np.load(self._path(step), allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def write(self, step: str, arrays: Arrays) -> None:
        """Keep what a step came to."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        cache.store(self._path(step), content.getvalue())

    def close(self) -> None:
        """Forget the run, which is done."""
        for path in self._folder.glob("*.npz"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another run of the same goes on
            self._folder.rmdir()

    def _path(self, step: str) -> Path:
        return self._folder / f"{step}.npz"
