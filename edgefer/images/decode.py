"""Decoding one image: its declared size first, then its pixels, and nothing on standard error."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import numpy as np

from edgefer.images.image_set import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
MAX_PIXELS = 64_000_000
MAX_SIDE = 32_768


class Undecodable(Exception):  # noqa: N818  the images are at fault, not the program
    """Why an image cannot be used."""


def decode(data: bytes) -> Image:
    """Pixels of an encoded image as uint8 (H, W, 3), RGB, turned as its EXIF orientation says.

    Gray becomes three equal channels, 16 bits are cut to 8, CMYK is converted, and alpha is dropped.

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
    size = declared_size(data)
    if size is None:
        raise Undecodable("is not a JPEG, PNG, BMP, WebP, TIFF, PGM or PPM image")
    check_size(*size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise Undecodable("cannot be decoded") from error
    if image is None:
        raise Undecodable("is damaged or truncated")
    return image.astype(np.uint8, copy=False)


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Height and width that an image's header declares, None when it is no known header."""
    try:
        for magic, size in _HEADERS.items():
            if data.startswith(magic):
                return size(data)
    except (struct.error, IndexError, ValueError):
        pass
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:
            position += 1
        elif 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return height, width
        elif marker < 0xFFC0 or marker == 0xFFDA:
            return None
        else:
            position += 2 + length


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(height), width


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[8:16]:
        case b"WEBPVP8X":
            return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
        case b"WEBPVP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        case b"WEBPVP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return height & 0x3FFF, width & 0x3FFF
        case _:
            return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    sides = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return (sides[257], sides[256]) if {256, 257} <= sides.keys() else None


def _pnm_size(data: bytes) -> tuple[int, int]:
    fields = re.sub(rb"#[^\n]*", b"", data[:4096]).split(maxsplit=3)
    return int(fields[2]), int(fields[1])


_HEADERS: dict[bytes, Callable[[bytes], tuple[int, int] | None]] = {
    b"\xff\xd8": _jpeg_size,
    b"\x89PNG\r\n\x1a\n": _png_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size,
    b"P2": _pnm_size,
    b"P3": _pnm_size,
    b"P5": _pnm_size,
    b"P6": _pnm_size,
}
