"""Kinds of images: each known by its first bytes, with the size that it declares before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Size: TypeAlias = "tuple[int, int] | None"

HEAD_BYTES = 64
"""So many are enough to recognise a format."""


@dataclass(frozen=True)
class ImageFormat:
    """A file format for images.

    Attributes:
        name: what people call it.
        suffixes: of its files' names, lower case; the first is the usual one.
        begins: what its files begin with.
        size: height and width that a file declares, None where it does not; None if no decoder is known.
        is_certain: whether a file that begins so is one, whatever its name.
    """

    name: str
    suffixes: tuple[str, ...]
    begins: re.Pattern[bytes]
    size: Callable[[bytes], Size] | None
    is_certain: bool = True


def recognise(data: bytes) -> ImageFormat | None:
    """The format of a file that begins with `data`, None when it is none of FORMATS."""
    return next((format for format in FORMATS if format.begins.match(data)), None)


def declared_size(data: bytes) -> Size:
    """Height and width that an image's header declares, None when it is no known header."""
    format = recognise(data)
    try:
        return format.size(data) if format and format.size else None
    except (struct.error, IndexError, ValueError):
        return None


def _jpeg_size(data: bytes) -> Size:
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


def _png_size(data: bytes) -> Size:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp_size(data: bytes) -> Size:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(height), width


def _webp_size(data: bytes) -> Size:
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


def _tiff_size(data: bytes) -> Size:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    sides = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, entry + 8)
    return (sides[257], sides[256]) if {256, 257} <= sides.keys() else None


def _pnm_size(data: bytes) -> Size:
    fields = re.sub(rb"#[^\n]*", b"", data[:4096]).split(maxsplit=3)
    return int(fields[2]), int(fields[1])


def _gif_size(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _avif_size(data: bytes) -> Size:
    """The largest of all its pictures: whole, tiles, thumbnails and masks."""
    start = 0
    while data[start + 4 : start + 8] != b"meta":
        (length,) = struct.unpack_from(">I", data, start)
        start += max(length, 8)
    (length,) = struct.unpack_from(">I", data, start)
    meta = data[start : start + length]
    found = [struct.unpack_from(">II", meta, match.end() + 4) for match in re.finditer(b"ispe", meta)]
    return (max(height for _, height in found), max(width for width, _ in found)) if found else None


def _jpeg2000_size(data: bytes) -> Size:
    if data.startswith(b"\xff\x4f"):
        right, below, left, above = struct.unpack_from(">IIII", data, 8)
        return below - above, right - left
    height, width = struct.unpack_from(">II", data, data.index(b"ihdr") + 4)
    return height, width


def _begins(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


FORMATS = (
    ImageFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), _begins(rb"\xff\xd8\xff"), _jpeg_size),
    ImageFormat("PNG", (".png", ".apng"), _begins(rb"\x89PNG\r\n\x1a\n"), _png_size),
    ImageFormat("BMP", (".bmp", ".dib"), _begins(rb"BM"), _bmp_size, is_certain=False),
    ImageFormat("WebP", (".webp",), _begins(rb"RIFF.{4}WEBP"), _webp_size),
    # Photographs as cameras record them are TIFF by their first bytes, but not to be read as such.
    ImageFormat("TIFF", (".tif", ".tiff"), _begins(rb"II\*\0|MM\0\*"), _tiff_size, is_certain=False),
    ImageFormat("PNM", (".ppm", ".pgm", ".pbm", ".pnm"), _begins(rb"P[1-6]\s"), _pnm_size, is_certain=False),
    ImageFormat("GIF", (".gif",), _begins(rb"GIF8[79]a"), _gif_size),
    ImageFormat("AVIF", (".avif",), _begins(rb".{4}ftyp(avi[fs]|mi[fa][f1].{4}(.{4}){0,8}?avi[fs])"), _avif_size),
    ImageFormat(
        "JPEG 2000", (".jp2", ".j2k", ".jpc"), _begins(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), _jpeg2000_size
    ),
    ImageFormat("HEIC", (".heic", ".heif"), _begins(rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"), None),
    ImageFormat("JPEG XL", (".jxl",), _begins(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), None),
)
SUFFIXES = tuple(suffix for format in FORMATS if format.size for suffix in format.suffixes)
"""Of names that promise an image which can be read."""
