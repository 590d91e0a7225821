"""Arrays, one for each image, kept in a file where they are large: memory is for what is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from math import prod
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

_AT_ONCE = 1 << 20
"""Bytes that are read together."""

_IN_MEMORY = 1 << 22
"""Bytes of all of them from which they are written out: less costs more time there than memory here."""


class Rows:
    """Arrays, in a file that has no name and is gone with this object; several threads may read them."""

    def __init__(self, arrays: Iterable[npt.NDArray[Any]] = ()) -> None:
        """Keep `arrays`.

        Raises:
            OSError: there is no room for them.
        """
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._lock = Lock()
        self._kinds: list[tuple[tuple[int, ...], np.dtype[Any]]] = []
        for array in arrays:
            self.append(array)

    def append(self, array: npt.NDArray[Any]) -> None:
        """Keep one more; not while they are read.

        Raises:
            OSError: there is no room for it.
        """
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._kinds.append((array.shape, array.dtype))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._kinds)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Each in turn, read from the file, some of a kind at once."""
        position = 0
        for (shape, dtype), kinds in groupby(self._kinds):
            left = len(list(kinds))
            at_once = max(_AT_ONCE // max(dtype.itemsize * prod(shape), 1), 1)
            for count in (min(at_once, left - start) for start in range(0, left, at_once)):
                arrays = np.empty((count, *shape), dtype)
                with self._lock:
                    self._file.seek(position)
                    self._file.readinto(arrays.reshape(-1).view(np.uint8).data)
                position += arrays.nbytes
                yield from arrays
