"""A folder of pictures as a source: their times stand in `times.csv`, in their names, or follow from a frame rate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import copy
from hashlib import sha256
from itertools import pairwise
from math import isfinite
from pathlib import Path

from edgefer.errors import InputError
from edgefer.host.csv_tables import csv_rows
from edgefer.host.text import by_numbers
from edgefer.images import open_images
from edgefer.video.frames import Frame

TIMES = "times.csv"
_IN_NAME = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|s)$")
_REMEDY = (
    f"Write {TIMES} beside them (file,time_s), end each name with its time (0.033s.jpg, frame_33ms.png), or give --fps."
)


class FrameFolder:
    """Pictures of one folder, in the order of their times."""

    def __init__(self, path: Path, fps: float | None = None, name: str = "") -> None:
        """Find the pictures and their times.

        Args:
            path: the folder.
            fps: frames per second of pictures without times, in the order of their names.
            name: what results call it; the folder's name by default.

        Raises:
            InputError: it holds no pictures, or not all of them have a time of their own.
        """
        self.name = name or path.resolve().name
        self._images = open_images(path)
        times = _times(path, self._images.names, fps)
        self._order = sorted(range(len(self._images)), key=lambda index: times[self._images.names[index]])
        self._times = [times[self._images.names[index]] for index in self._order]
        if equal := next((first for first, second in pairwise(self._times) if first >= second), None):
            raise InputError(f"{path}: two pictures are of the same time, {equal:g} s", remedy=_REMEDY)
        self.expected = len(self._order)

    @property
    def digest(self) -> str:
        """SHA-256 of pictures and times."""
        pictures = [(self._images.digests[index], time) for index, time in zip(self._order, self._times, strict=True)]
        return sha256(repr(pictures).encode()).hexdigest()

    def carried(self) -> FrameFolder:
        """See `Source`."""
        other = copy(self)
        other._images = self._images.sent(range(len(self._images)), carried=True)
        return other

    def frames(self) -> Iterator[Frame]:
        """Every picture."""
        for index, (place, time_s) in enumerate(zip(self._order, self._times, strict=True)):
            yield Frame(index, time_s, self._images.read(place))


def _times(path: Path, names: tuple[str, ...], fps: float | None) -> Mapping[str, float]:
    if (path / TIMES).is_file():
        stated = _read_times(path / TIMES)
        if missing := [name for name in names if name not in stated]:
            raise InputError(f"{path / TIMES}: says nothing of {missing[0]}", remedy="Give each picture a row.")
        return stated
    if fps is not None:
        return {name: index / fps for index, name in enumerate(sorted(names, key=by_numbers))}
    found = {}
    for name in names:
        match = _IN_NAME.search(Path(name).stem)
        if match is None:
            raise InputError(f"{path}: nothing says when {name} was taken", remedy=_REMEDY)
        found[name] = float(match[1]) / (1000 if match[2] == "ms" else 1)
    return found


def _read_times(path: Path) -> dict[str, float]:
    with csv_rows(path, "a table with columns file and time_s", remedy=_REMEDY) as rows:
        times = {row["file"]: float(row["time_s"]) for row in rows}
    if bad := next((file for file, time in times.items() if not isfinite(time) or time < 0), None):
        raise InputError(f"{path}: the time of {bad} is not a number of seconds from the start")
    return times
