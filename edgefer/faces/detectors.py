"""Chooses a detector: BlazeFace by default, YuNet by file, boxes by table, or none for pictures that are faces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgefer.errors import UsageError
from edgefer.faces.blazeface import BlazeFace
from edgefer.faces.face import Detector
from edgefer.faces.given import GivenBoxes, WholePicture
from edgefer.faces.yunet import YuNet
from edgefer.host.detector_weights import blazeface_weights

BLAZEFACE = "blazeface"
NONE = "none"


def detector_maker(choice: str | Path = BLAZEFACE, boxes: Path | None = None) -> Callable[[], Detector]:
    """Makes a detector for each thread that asks, and can be pickled; what it needs is read, and fetched, at once.

    Args:
        choice: `blazeface`, `none`, or a YuNet network's file.
        boxes: a table that is used instead.

    Raises:
        UsageError: it is none of these.
        InputError: a file cannot be read, or is something else.
        EdgeferError: BlazeFace's weights cannot be fetched.
    """
    if boxes is not None:
        given = GivenBoxes(boxes)
        return partial(_the_same, given)
    if str(choice) == NONE:
        return WholePicture
    if str(choice) == BLAZEFACE:
        return partial(BlazeFace, blazeface_weights())
    path = Path(choice)
    if path.suffix != ".onnx":
        raise UsageError(
            f"{choice}: no such detector", remedy="Choose blazeface, none, or give the .onnx file of a YuNet network."
        )
    YuNet(path)
    return partial(YuNet, path)


def _the_same(detector: Detector) -> Detector:
    """One that threads may share."""
    return detector
