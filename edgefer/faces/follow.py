"""Faces followed from frame to frame by place and time alone; nobody is recognised.

A face found is the one that was there: boxes are matched by intersection over union, the largest first; what moved
too far for that, or was out of sight for a while, by the distance of centres.  Between detections, boxes are carried
on by optical flow (Lucas and Kanade, pyramidal) on a grid of points inside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.faces.face import Face, overlap
from edgefer.images import Image

REMEMBERED_S = 2.0
"""So long after it was last seen, a face that appears at the same place is the same."""

_OVERLAP = 0.2
_NEAR = 1.0  # of the box's width, between centres
_ALIKE = 2.0  # one box is at most so many times as wide as the other
_FLOW_SIDE = 320  # pixels of the longer side of pictures that flow is computed on
_GRID = 6


@dataclass
class _Known:
    identity: int
    face: Face
    seen_s: float


class Follower:
    """Gives faces identities, counted from 1 in the order of their appearance."""

    def __init__(self) -> None:
        self._known: list[_Known] = []
        self._count = 0
        self._gray: npt.NDArray[np.uint8] | None = None

    def found(self, faces: list[Face], time_s: float) -> list[tuple[int, Face]]:
        """What a detector found, each with its identity, in the detector's order."""
        self._known = [known for known in self._known if time_s - known.seen_s <= REMEMBERED_S]
        pairs = [
            (similarity, place, known)
            for place, face in enumerate(faces)
            for known in self._known
            if (similarity := _similarity(known.face, face)) is not None
        ]
        identities: dict[int, _Known] = {}
        for _, place, known in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2].identity)):
            if place not in identities and known not in identities.values():
                identities[place] = known
        for place, face in enumerate(faces):
            if place not in identities:
                self._count += 1
                self._known.append(_Known(self._count, face, time_s))
                identities[place] = self._known[-1]
            identities[place].face, identities[place].seen_s = face, time_s
        return [(identities[place].identity, face) for place, face in enumerate(faces)]

    def see(self, image: Image) -> None:
        """Look at a picture whose faces are, or were just, found, so that `carried` can go on from it."""
        self._gray = _small_gray(image)

    def carried(self, image: Image, time_s: float) -> list[tuple[int, Face]]:
        """Where the faces of the picture seen last are in this one, without a detector."""
        before, self._gray = self._gray, _small_gray(image)
        latest = max((known.seen_s for known in self._known), default=0.0)
        present = [known for known in self._known if known.seen_s == latest]
        if before is None or before.shape != self._gray.shape:
            return []
        scale = self._gray.shape[1] / image.shape[1]
        for known in present:
            known.face = known.face.moved(*_flow(before, self._gray, known.face, scale))
            known.seen_s = time_s
        return [(known.identity, known.face) for known in present]


def _similarity(known: Face, face: Face) -> float | None:
    """How well one face continues another, None where it cannot be the same."""
    shared = overlap(known, face)
    if shared >= _OVERLAP:
        return 1 + shared
    if not 1 / _ALIKE <= known.width / face.width <= _ALIKE:
        return None
    dx = known.x + known.width / 2 - face.x - face.width / 2
    dy = known.y + known.height / 2 - face.y - face.height / 2
    distance = float(np.hypot(dx, dy)) / max(known.width, face.width)
    return 1 - distance if distance < _NEAR else None


def _small_gray(image: Image) -> npt.NDArray[np.uint8]:
    scale = min(_FLOW_SIDE / max(image.shape[:2]), 1.0)
    size = tuple(max(round(side * scale), 1) for side in image.shape[1::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _flow(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], face: Face, scale: float) -> tuple[float, float]:
    """How far a face moved, in pixels of the picture: the median over points that flow could follow."""
    along = (np.arange(_GRID) + 0.5) / _GRID
    x, y = np.meshgrid(face.x + along * face.width, face.y + along * face.height)
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)[:, np.newaxis] * np.float32(scale)
    moved, followed, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.empty_like(points))
    steps = (moved - points)[followed.ravel() == 1, 0]
    if not len(steps):
        return 0.0, 0.0
    dx, dy = np.median(steps, axis=0) / scale
    return float(dx), float(dy)
