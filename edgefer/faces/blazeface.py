"""BlazeFace, MediaPipe's face detector for a whole room: a small network with one anchor for each of 48x48 places.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019, arXiv:1907.05047; the
full-range variant of its model card.  Overlapping boxes are blended by their scores, as the paper has it, which
makes boxes of following frames shake less than choosing one does.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefer.faces.face import Face
from edgefer.images import Image
from edgefer.runtime.runners import tflite_interpreter

THRESHOLD = 0.5
"""Least score of a face."""

_SIZE = 192
_CELLS = 48
_POINTS = ("right_eye", "left_eye", "nose", "mouth")
_SAME_FACE = 0.3  # intersection over union

Floats = npt.NDArray[np.float64]


class BlazeFace:
    """A detector; one for each thread."""

    def __init__(self, model: bytes) -> None:
        """Load the network.

        Raises:
            InputError: LiteRT refuses it.
        """
        self._interpreter = tflite_interpreter(model)
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {tuple(output["shape"]): output["index"] for output in self._interpreter.get_output_details()}
        self._boxes, self._scores = outputs[1, _CELLS**2, 16], outputs[1, _CELLS**2, 1]

    def __call__(self, image: Image, source: str = "", frame: int = 0) -> list[Face]:
        """The faces of a picture, the largest first."""
        scale = _SIZE / max(image.shape[:2])
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        top, left = (_SIZE - height) // 2, (_SIZE - width) // 2
        letterbox = np.zeros((1, _SIZE, _SIZE, 3), np.float32)
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        letterbox[0, top : top + height, left : left + width] = small.astype(np.float32) / np.float32(127.5) - 1
        self._interpreter.set_tensor(self._input, letterbox)
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._scores)[0, :, 0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        chosen = np.flatnonzero(scores >= THRESHOLD)
        raw = self._interpreter.get_tensor(self._boxes)[0, chosen].astype(np.float64).reshape(-1, 8, 2)
        centres = np.stack([chosen % _CELLS, chosen // _CELLS], axis=1) + 0.5
        raw[:, [0, *range(2, 8)]] += centres[:, np.newaxis] * (_SIZE / _CELLS)
        raw[:, [0, *range(2, 8)]] -= (left, top)
        raw /= scale
        corners = np.concatenate([raw[:, 0] - raw[:, 1] / 2, raw[:, 0] + raw[:, 1] / 2], axis=1)
        faces = [_face(*blended) for blended in _blend(corners, raw[:, 2:6].reshape(-1, 8), scores[chosen])]
        return sorted(faces, key=lambda face: -face.width * face.height)


def _blend(corners: Floats, points: Floats, scores: Floats) -> list[tuple[Floats, Floats, float]]:
    """One box, its points and its score for each set of boxes that overlap, weighted by their scores."""
    found = []
    left = np.argsort(-scores, kind="stable")
    while left.size:
        low = np.maximum(corners[left[0], :2], corners[left, :2])
        high = np.minimum(corners[left[0], 2:], corners[left, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        same = shared / np.maximum(areas[left[0]] + areas[left] - shared, 1e-9) >= _SAME_FACE
        same[0] = True
        members, weights = left[same], scores[left[same]]
        found.append(
            (
                np.average(corners[members], axis=0, weights=weights),
                np.average(points[members], axis=0, weights=weights),
                float(weights[0]),
            )
        )
        left = left[~same]
    return found


def _face(corners: Floats, points: Floats, score: float) -> Face:
    x, y, right, bottom = map(float, corners)
    named = {name: (float(px), float(py)) for name, (px, py) in zip(_POINTS, points.reshape(-1, 2), strict=True)}
    return Face(x, y, right - x, bottom - y, score, named)
