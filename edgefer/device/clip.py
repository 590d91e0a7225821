"""The clip of `benchmark --pipeline`, decoded on this machine."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from edgefer.device.pipeline import Clip
from edgefer.errors import InputError
from edgefer.faces.blazeface import BlazeFace
from edgefer.host.detector_weights import blazeface_weights
from edgefer.video.recordings import VideoFile

BROUGHT = 32
"""Frames of the clip, spread over its first seconds, that the board goes through to and fro."""

_EVERY = 3
_LONGEST = 640  # pixels of a frame's longer side


def read_clip(path: Path) -> Clip:
    """A few frames of a video, and where this machine finds faces on them.

    Raises:
        InputError: it is no video, or shows no face.
        EdgeferError: BlazeFace's weights cannot be fetched.
    """
    weights = blazeface_weights()
    find = BlazeFace(weights)
    pictures, boxes = [], []
    for frame in islice(VideoFile(path).frames(), 0, BROUGHT * _EVERY, _EVERY):
        scale = min(_LONGEST / max(frame.image.shape[:2]), 1.0)
        size = (max(round(frame.image.shape[1] * scale), 2), max(round(frame.image.shape[0] * scale), 2))
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA) if scale < 1 else frame.image
        pictures.append(np.asarray(small, np.uint8))
        boxes.append(next(iter(find(pictures[-1])), None))
    if not any(boxes):
        raise InputError(f"{path}: its first seconds show no face", remedy="Give a clip in which somebody is seen.")
    file = io.BytesIO()
    np.save(file, np.stack(pictures))
    height, width = pictures[0].shape[:2]
    return Clip(path.name, file.getvalue(), len(pictures), (width, height), tuple(boxes), weights)
