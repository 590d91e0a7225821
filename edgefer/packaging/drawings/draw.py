"""Draws the golden images beside this file: cartoon faces and a test pattern, so that no real person ships.

    python edgefer/packaging/drawings/draw.py

Their sizes and shapes differ from any network's, so that an app's resizing is tested too; the stripes of the
pattern alias visibly where it forgets to filter, and colours move where it swaps red and blue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

INK = (52, 38, 34)
IRIS = (58, 96, 140)
LIPS = (176, 62, 66)
WHITE = (250, 248, 242)


@dataclass(frozen=True)
class Face:
    """A cartoon face; lengths are shares of the image's width.

    Attributes:
        size: height and width in pixels.
        skin: RGB.
        backdrop: RGB.
        smile: how far the corners of the mouth are above its middle; negative for sadness.
        mouth: half its opening.
        eyes: half their opening.
        brows: how much higher their outer ends are; negative for anger turned inward.
    """

    size: tuple[int, int]
    skin: tuple[int, int, int]
    backdrop: tuple[int, int, int]
    smile: float
    mouth: float
    eyes: float
    brows: float


FACES: Mapping[str, Face] = {
    "happy": Face((104, 104), (240, 196, 160), (86, 140, 190), 0.10, 0.035, 0.035, 0.00),
    "sad": Face((120, 90), (190, 138, 104), (60, 66, 84), -0.08, 0.012, 0.030, -0.07),
    "surprise": Face((48, 48), (250, 214, 178), (214, 180, 92), 0.00, 0.090, 0.065, 0.00),
    "angry": Face((200, 160), (122, 82, 60), (150, 52, 48), -0.05, 0.022, 0.028, 0.09),
    "neutral": Face((72, 110), (214, 170, 140), (112, 128, 112), 0.00, 0.012, 0.036, 0.00),
}


def drawings() -> dict[str, npt.NDArray[np.uint8]]:
    """All golden images by name: uint8 (H, W, 3), RGB."""
    return {**{name: face(description) for name, description in FACES.items()}, "pattern": pattern(90, 144)}


def face(description: Face) -> npt.NDArray[np.uint8]:
    """One face."""
    height, width = description.size
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / min(height, width)
    x, y = x - width / min(height, width) / 2, y - height / min(height, width) / 2
    soft = 1.2 / min(height, width)
    shade = np.linspace(-18, 18, height)[:, None, None]
    canvas = np.broadcast_to(np.asarray(description.backdrop) + shade, (height, width, 3)).copy()

    def paint(distance: Array, colour: tuple[int, int, int]) -> None:
        cover = np.clip(0.5 - distance / soft, 0, 1)[..., None]
        canvas[...] = canvas * (1 - cover) + np.asarray(colour) * cover

    side = np.abs(x)
    paint(_ellipse(x, y + 0.06, 0.37, 0.43), INK)
    paint(_ellipse(x, y - 0.02, 0.34, 0.42), description.skin)
    paint(_ellipse(side - 0.14, y + 0.06, 0.070, description.eyes), WHITE)
    paint(_ellipse(side - 0.14, y + 0.06, 0.030, min(0.034, description.eyes)), IRIS)
    paint(_ellipse(side - 0.14, y + 0.06, 0.013, 0.013), INK)
    raised = 0.16 + description.eyes / 2 + description.brows * (side - 0.14) / 0.09
    paint(np.maximum(np.abs(y + raised) - 0.016, np.abs(side - 0.14) - 0.09), INK)
    paint(_ellipse(x, y - 0.07, 0.028, 0.045), tuple(int(c * 0.84) for c in description.skin))  # type: ignore[arg-type]
    curve = 0.24 - description.smile * (x / 0.15) ** 2 + description.smile / 2
    opening = description.mouth * np.sqrt(np.clip(1 - (x / 0.15) ** 2, 0, 1))
    paint(np.maximum(np.abs(y - curve) - np.maximum(opening, 0.006), side - 0.15), LIPS)
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)


def pattern(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Colour ramps under stripes that get finer to the right."""
    y, x = np.mgrid[0:height, 0:width]
    stripes = (x * x // 160 + y // 12) % 2
    ramps = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 255 - x * 255 // (width - 1)], axis=-1)
    return np.where(stripes[..., None] == 0, ramps, ramps // 3).astype(np.uint8)


def _ellipse(x: Array, y: Array, across: float, down: float) -> Array:
    """Roughly the distance to an ellipse around the origin, negative inside."""
    return (np.hypot(x / across, y / down) - 1) * min(across, down)


def _write(images: Mapping[str, npt.NDArray[np.uint8]], encode: Callable[..., tuple[bool, Array]]) -> None:
    for name, image in images.items():
        _, data = encode(".png", image[:, :, ::-1])
        Path(__file__).with_name(f"{name}.png").write_bytes(data.tobytes())


if __name__ == "__main__":
    import cv2

    _write(drawings(), cv2.imencode)  # type: ignore[arg-type]
