"""YuNet, a face detector that users bring as an ONNX file, run by OpenCV.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20, 2023.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefer.errors import InputError
from edgefer.faces.face import Face
from edgefer.host.native_output import captured_stderr
from edgefer.images import Image

THRESHOLD = 0.6
"""Least score of a face."""

_LARGEST = 640  # pixels of the longer side that it looks at: faces of ten pixels are found in that
_POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


class YuNet:
    """A detector; one for each thread."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            InputError: OpenCV cannot load it, or it is no such network.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            with captured_stderr():
                self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=THRESHOLD)
                self._network.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise InputError(
                f"{path}: not a YuNet face detector that OpenCV {cv2.__version__} can run",
                remedy="Give --detector face_detection_yunet_2023mar.onnx of OpenCV's model zoo, or leave it out.",
            ) from error

    def __call__(self, image: Image, source: str = "", frame: int = 0) -> list[Face]:
        """The faces of a picture, the largest first."""
        scale = min(_LARGEST / max(image.shape[:2]), 1.0)
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale < 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(picture)  # None where there are none
        found = [] if rows is None else [[float(number) for number in row] for row in rows]
        faces = [_face([number / scale for number in row[:14]], row[14]) for row in found]
        return sorted(faces, key=lambda face: -face.width * face.height)


def _face(numbers: list[float], score: float) -> Face:
    x, y, width, height = numbers[:4]
    points = {name: (numbers[4 + 2 * i], numbers[5 + 2 * i]) for i, name in enumerate(_POINTS)}
    return Face(x, y, width, height, score, points)
