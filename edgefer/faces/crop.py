"""A face cut out of its picture as faces were in training: another margin costs more accuracy than int8 does."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from edgefer.faces.face import Face, Point
from edgefer.images import Image
from edgefer.spec import CropSpec

_TEMPLATE: Mapping[str, Point] = {
    "right_eye": (38.2946, 51.6963),
    "left_eye": (73.5318, 51.5014),
    "nose": (56.0252, 71.7366),
    "mouth_right": (41.5493, 92.3655),
    "mouth_left": (70.7299, 92.2041),
    "mouth": (56.1396, 92.2848),
}
"""Where points lie in a picture of 112x112 pixels, as ArcFace's training data has them (Deng et al., CVPR 2019)."""
_TEMPLATE_SIDE = 112


def cut_out(image: Image, face: Face, crop: CropSpec) -> Image:
    """The part of a picture that the network is shown.

    What lies outside of the picture repeats its edge.

    Args:
        image: uint8 (H, W, 3), RGB.
        face: where the face is.
        crop: how faces were cut in training.

    Returns:
        uint8 (h, w, 3), of the crop's own size in pixels; `images.preprocess` brings it to the network's.
    """
    if crop.align == "five_points" and _is_placed(face):
        return _warped(image, _to_template(face), (_TEMPLATE_SIDE, _TEMPLATE_SIDE))
    left, top, *size = rectangle(face, crop)
    x, y = face.x + face.width / 2, face.y + face.height / 2
    if crop.align == "eyes" and {"right_eye", "left_eye"} <= face.points.keys():
        (rx, ry), (lx, ly) = face.points["right_eye"], face.points["left_eye"]
        turn = cv2.getRotationMatrix2D((x, y), float(np.degrees(np.arctan2(ly - ry, lx - rx))), 1.0)
        shift = np.array([[0.0, 0.0, size[0] / 2 - x], [0.0, 0.0, size[1] / 2 - y]])
        return _warped(image, np.asarray(turn, np.float64) + shift, (size[0], size[1]))
    right, bottom = left + size[0], top + size[1]
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] == (size[1], size[0]):
        return np.ascontiguousarray(inside)
    rows = np.clip(np.arange(top, bottom), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, right), 0, image.shape[1] - 1)
    return np.ascontiguousarray(image[rows[:, np.newaxis], columns])


def rectangle(face: Face, crop: CropSpec) -> tuple[int, int, int, int]:
    """What is cut out where no points align it: left, top, width and height, in pixels; halves go to the even."""
    width, height = face.width * (1 + 2 * crop.margin), face.height * (1 + 2 * crop.margin)
    if crop.square:
        width = height = max(width, height)
    size = max(round(width), 1), max(round(height), 1)
    left, top = round(face.x + face.width / 2 - size[0] / 2), round(face.y + face.height / 2 - size[1] / 2)
    return left, top, *size


def _is_placed(face: Face) -> bool:
    return len(face.points.keys() & _TEMPLATE.keys()) >= 3


def _to_template(face: Face) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The similarity that brings the points nearest to where they lie in training, by least squares (Umeyama, 1991)."""
    names = sorted(face.points.keys() & _TEMPLATE.keys())
    source = np.array([face.points[name] for name in names])
    target = np.array([_TEMPLATE[name] for name in names])
    centre, wanted = source.mean(axis=0), target.mean(axis=0)
    u, stretch, vt = np.linalg.svd((target - wanted).T @ (source - centre))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = (u * signs) @ vt * (stretch @ signs) / max(((source - centre) ** 2).sum(), 1e-9)
    return np.concatenate([turn, (wanted - turn @ centre)[:, np.newaxis]], axis=1)


def _warped(image: Image, matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]], size: tuple[int, int]) -> Image:
    """`matrix` takes pixels of the picture to those of the result."""
    warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)
