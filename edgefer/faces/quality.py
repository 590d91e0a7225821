"""How well a face shows: measured for every frame, so that a score from a poor picture is known as such."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefer.faces.face import Face
from edgefer.images import Image

FLAGS = ("small", "blurred", "dark", "cut", "turned", "low_score")
"""What can be poor, in this order."""

_SMALLEST = 32.0  # pixels of the box's width
_SIDE = 64  # to which faces are brought before sharpness is measured, so that it does not depend on their size
_SHARPEST = 40.0  # below this variance of the Laplacian, edges are gone
_DARKEST = 0.12
_CUT = 0.1  # share of the box that lies outside of the picture
_TURNED = 0.35  # of the distance between the eyes: how far the nose may be from their middle
_UNSURE = 0.6


@dataclass(frozen=True)
class Quality:
    """Of one face in one picture.

    Attributes:
        sharpness: variance of the Laplacian at 64x64 pixels (Pech-Pacheco et al., ICPR 2000).
        brightness: mean of the face's pixels, 0 to 1.
        flags: names of what is poor.
    """

    sharpness: float
    brightness: float
    flags: tuple[str, ...]


def judge_quality(image: Image, face: Face, cutout: Image) -> Quality:
    """Measure a face.

    Args:
        image: the whole picture.
        face: where the face is in it.
        cutout: what the network is shown of it, uint8 (h, w, 3).
    """
    import cv2  # reports, which only name the flags, do without

    gray = cv2.cvtColor(cv2.resize(cutout, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    sharpness = float(cv2.Laplacian(gray, cv2.CV_64F).var())
    brightness = float(np.mean(gray)) / 255
    poor = (
        face.width < _SMALLEST,
        sharpness < _SHARPEST,
        brightness < _DARKEST,
        _outside(image, face) > _CUT,
        _turn(face) > _TURNED,
        face.score < _UNSURE,
    )
    return Quality(sharpness, brightness, tuple(flag for flag, is_so in zip(FLAGS, poor, strict=True) if is_so))


def _outside(image: Image, face: Face) -> float:
    """Share of the box that lies outside of the picture."""
    width = min(face.x + face.width, image.shape[1]) - max(face.x, 0)
    height = min(face.y + face.height, image.shape[0]) - max(face.y, 0)
    return 1 - float(max(width, 0) * max(height, 0)) / (face.width * face.height)


def _turn(face: Face) -> float:
    """How far the nose is from the middle of the eyes, along the line through them, in distances between the eyes."""
    if not {"right_eye", "left_eye", "nose"} <= face.points.keys():
        return 0.0
    right, left, nose = (np.array(face.points[name]) for name in ("right_eye", "left_eye", "nose"))
    across = left - right
    return float(abs((nose - (left + right) / 2) @ across) / max(across @ across, 1e-9))
