"""A face in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgefer.images import Image

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """Where a face is, in pixels of its picture; x to the right, y down, (0, 0) the upper left corner.

    Attributes:
        x: left edge of its box.
        y: upper edge.
        width: of the box.
        height: of the box.
        score: how sure the detector is, 0 to 1.
        points: by name: `right_eye` and `left_eye` (the subject's own), `nose`, `mouth`, `mouth_right`, `mouth_left`;
            those that the detector finds.
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 1.0
    points: Mapping[str, Point] = field(default_factory=dict)

    def moved(self, dx: float, dy: float) -> Face:
        """The same face elsewhere."""
        points = {name: (x + dx, y + dy) for name, (x, y) in self.points.items()}
        return Face(self.x + dx, self.y + dy, self.width, self.height, self.score, points)


class Detector(Protocol):
    """Finds faces."""

    def __call__(self, image: Image, source: str, frame: int) -> list[Face]:
        """The faces of a frame, the largest first.

        Args:
            image: uint8 (H, W, 3), RGB.
            source: name of the source that it is from.
            frame: its index there.
        """
        ...


def overlap(first: Face, second: Face) -> float:
    """Intersection over union of two boxes."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / max(first.width * first.height + second.width * second.height - shared, 1e-9)
