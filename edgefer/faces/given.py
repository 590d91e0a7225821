"""Faces that are known beforehand: boxes from a table, or pictures that are faces already."""

from __future__ import annotations

from collections import defaultdict
from math import isfinite
from pathlib import Path

from edgefer.errors import InputError
from edgefer.faces.face import Face
from edgefer.host.csv_tables import csv_rows
from edgefer.images import Image


class WholePicture:
    """Every picture is one face: crops that somebody else made."""

    def __call__(self, image: Image, source: str, frame: int) -> list[Face]:
        """The whole picture."""
        return [Face(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))]


class GivenBoxes:
    """Boxes of a CSV table with columns frame, x, y, w, h, and source where there are several."""

    def __init__(self, path: Path) -> None:
        """Read the table.

        Raises:
            InputError: it cannot be read, or is no such table.
        """
        boxes: dict[tuple[str, int], list[Face]] = defaultdict(list)
        remedy = "Its columns are frame,x,y,w,h in pixels, and source where there are several."
        with csv_rows(path, "a table of boxes", remedy=remedy) as rows:
            for line, row in enumerate(rows, 2):
                x, y, width, height = (float(row[column]) for column in ("x", "y", "w", "h"))
                if not all(map(isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
                    raise InputError(f"{path}: line {line}: not a box: it needs a width and a height")
                score = float(row.get("score") or 1.0)
                boxes[row.get("source") or "", int(row["frame"])].append(Face(x, y, width, height, score))
        self._boxes = {key: sorted(faces, key=lambda face: -face.width * face.height) for key, faces in boxes.items()}

    def __call__(self, image: Image, source: str, frame: int) -> list[Face]:
        """The boxes of a frame, the largest first."""
        return self._boxes.get((source, frame), []) or self._boxes.get(("", frame), [])
