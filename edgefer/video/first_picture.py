"""When the first picture of a video file is shown: OpenCV counts from it, a container's timeline may begin earlier.

Matroska (RFC 9559) and MP4 (ISO/IEC 14496-12, with its edit lists) have a timeline from 0 that pictures share with
sound.  The clock of a broadcast stream begins anywhere, so there, as wherever nothing is said, the first picture is
the start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT, _CLUSTER, _GROUP, _TRACKS, _TRACK, _INFO = 0x18538067, 0x1F43B675, 0xA0, 0x1654AE6B, 0xAE, 0x1549A966
_SCALE, _TIME, _NUMBER, _KIND, _BLOCK, _SIMPLE_BLOCK = 0x2AD7B1, 0xE7, 0xD7, 0x83, 0xA1, 0xA3
_PICTURES = 1

_MP4_BEGINS = frozenset([b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"])
_OPENED = frozenset([b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"])
_READ = frozenset([b"mvhd", b"mdhd", b"hdlr", b"elst", b"stts", b"ctts"])
_LONGEST = 1 << 26  # bytes of a table, more than a day of frames
_MOST = 1 << 20  # samples that are looked through


def first_picture_s(path: Path) -> float:
    """Seconds from the start of a file's timeline to its first picture; 0 where it does not say."""
    try:
        with path.open("rb") as file:
            begin = file.read(8)
            if begin.startswith(_EBML):
                return max(float(_in_matroska(file)), 0.0)
            if begin[4:] in _MP4_BEGINS:
                return float(_in_mp4(file))
    except (OSError, ValueError, LookupError, ArithmeticError, struct.error, StopIteration):
        pass  # what is damaged shows when it is decoded
    return 0.0


def _in_matroska(file: BinaryIO) -> Fraction:
    """The time of the first block of the first track of pictures."""
    tick, cluster = 1_000_000, 0  # ns
    tracks: list[dict[int, int]] = []
    for kind, size in _elements(file):
        if kind == _TRACK:
            tracks.append({})
        elif kind in (_NUMBER, _KIND):
            tracks[-1][kind] = _whole(file.read(min(size, 8)))
        elif kind == _SCALE:
            tick = _whole(file.read(min(size, 8)))
        elif kind == _TIME:
            cluster = _whole(file.read(min(size, 8)))
        elif kind in (_BLOCK, _SIMPLE_BLOCK):
            begun = file.tell()
            shown = next(track[_NUMBER] for track in tracks if track.get(_KIND) == _PICTURES)
            if _variable(file) == shown:
                return Fraction((cluster + struct.unpack(">h", file.read(2))[0]) * tick, 10**9)
            file.seek(begun + size)
        else:
            file.seek(size, 1)
    raise ValueError


def _elements(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Elements in order, those that hold others before what they hold; the file stands at their content."""
    file.seek(0)
    while True:
        kind = _variable(file, marked=True)
        size = _variable(file)
        if kind in (_SEGMENT, _CLUSTER, _GROUP, _TRACKS, _TRACK, _INFO):
            size = 0
        yield kind, size


def _variable(file: BinaryIO, *, marked: bool = False) -> int:
    """A number of variable length; with the bit that marks its length, or without."""
    (first,) = file.read(1)
    length = 9 - first.bit_length()
    value = _whole(bytes([first]) + file.read(length - 1))
    return value if marked else value & ~(1 << 7 * length)


def _whole(content: bytes) -> int:
    return int.from_bytes(content, "big")


def _in_mp4(file: BinaryIO) -> Fraction:
    """The first picture that the edit list of the first track of pictures shows."""
    movie: dict[bytes, bytes] = {}
    tracks: list[dict[bytes, bytes]] = []
    for kind, content in _boxes(file):
        if kind == b"trak":
            tracks.append({})
        elif kind == b"mvhd":
            movie[kind] = content
        elif content:
            tracks[-1].setdefault(kind, content)
    track = next(track for track in tracks if track.get(b"hdlr", b"")[8:12] == b"vide")
    ticks = _ticks(track[b"mdhd"])
    empty, begin = 0, 0
    for duration, media_time in _edits(track):
        if media_time >= 0:
            begin = media_time
            break
        empty += duration
    first = next(time for time in _shown(track) if time >= begin)
    return Fraction(first - begin, ticks) + (Fraction(empty, _ticks(movie[b"mvhd"])) if empty else 0)


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Boxes in order, those that hold others before what they hold; the contents of a few."""
    file.seek(0)
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        left = size - 8
        if size == 1:
            left = struct.unpack(">Q", file.read(8))[0] - 16
        if kind in _OPENED:
            yield kind, b""
        elif left < 0:  # to the end
            return
        elif kind in _READ:
            yield kind, file.read(min(left, _LONGEST))
        else:
            file.seek(left, 1)


def _ticks(header: bytes) -> int:
    """Per second: of the movie or of a track."""
    return _whole(header[20:24] if header[0] else header[12:16])


def _edits(track: Mapping[bytes, bytes]) -> Iterator[tuple[int, int]]:
    """Duration, in the movie's ticks, and time in the track, in its own; -1 for nothing shown."""
    content = track.get(b"elst", b"")
    form = ">QqI" if content[:1] == b"\1" else ">IiI"
    return ((duration, time) for duration, time, _ in _entries(form, content))


def _shown(track: Mapping[bytes, bytes]) -> Iterator[int]:
    """When samples are shown, in the track's ticks, in the order in which they are decoded."""
    steps = chain.from_iterable(repeat(step, count) for count, step in _entries(">II", track[b"stts"]))
    offsets = chain.from_iterable(repeat(offset, count) for count, offset in _entries(">Ii", track.get(b"ctts", b"")))
    decoded = 0
    for step, offset in zip(islice(steps, _MOST), chain(offsets, repeat(0)), strict=False):
        yield decoded + offset
        decoded += step


def _entries(form: str, content: bytes) -> Iterator[tuple[int, ...]]:
    """Rows of a table that follow its version, flags and count."""
    size = struct.calcsize(form)
    return struct.iter_unpack(form, content[8 : 8 + (len(content) - 8) // size * size])
