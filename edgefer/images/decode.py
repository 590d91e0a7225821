"""Decoding one image: its declared size first, then its pixels, and nothing on standard error."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from edgefer.images.image_formats import FORMATS, declared_size, recognise
from edgefer.images.image_set import Image

MAX_PIXELS = 64_000_000
MAX_SIDE = 32_768


class Undecodable(Exception):  # noqa: N818  the images are at fault, not the program
    """Why an image cannot be used."""


def decode(data: bytes) -> Image:
    """Pixels of an encoded image as uint8 (H, W, 3), RGB, turned as its EXIF orientation says.

    Gray becomes three equal channels, 16 bits are cut to 8, CMYK is converted, and alpha is dropped.  Of what moves,
    the first frame counts.

    Raises:
        Undecodable: it is damaged, too large, or in none of the known formats.
    """
    import cv2

    return np.ascontiguousarray(_decode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


def verify(data: bytes, noise: Callable[[], str]) -> bool:
    """Decode and forget; whether the decoder warned of something harmless.

    Args:
        data: the encoded image; a JPEG is decoded at an eighth of its size, which reads all of it.
        noise: what `captured_stderr` gives.

    Raises:
        Undecodable: as `decode` does, and where the decoder warns of damage that it painted over.
    """
    import cv2

    noise()
    _decode(data, cv2.IMREAD_REDUCED_COLOR_8 if data.startswith(b"\xff\xd8") else cv2.IMREAD_COLOR)
    warning = noise()
    if damage := _DAMAGE.search(warning):
        raise Undecodable(f"is damaged: {damage[1]}")
    return bool(warning)


def check_size(height: int, width: int) -> None:
    """Refuse sizes that nobody photographs.

    Raises:
        Undecodable: a side is zero or over 32,768, or there are over 64 megapixels.
    """
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise Undecodable(f"declares {width} x {height} pixels; the limit is {MAX_PIXELS // 1_000_000} megapixels")


_DAMAGE = re.compile(r"Corrupt JPEG data: ((?!\d+ extraneous).*)")


def _decode(data: bytes, flags: int) -> Image:
    import cv2

    if not data:
        raise Undecodable("is empty")
    format = recognise(data)
    if format is None:
        known = ", ".join(format.name for format in FORMATS if format.size)
        raise Undecodable(f"is none of {known}")
    if format.size is None:
        raise Undecodable(f"is {format.name}, which OpenCV does not read")
    size = declared_size(data)
    if size is None:
        raise Undecodable("is damaged or truncated")
    check_size(*size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise Undecodable("cannot be decoded") from error
    if image is None and not cv2.haveImageWriter(f"image{format.suffixes[0]}"):
        raise Undecodable(f"is {format.name}, which this OpenCV ({cv2.__version__}) does not read")
    if image is None:
        raise Undecodable("is damaged or truncated")
    return image.astype(np.uint8, copy=False)
