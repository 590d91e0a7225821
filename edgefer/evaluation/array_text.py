"""Arrays as one line of JSON text, so that later evaluations can be compared with this one image by image."""

from __future__ import annotations

import re
import zlib
from base64 import b64decode, b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES = ("int16", "float32")
_LARGEST = 1 << 28
_FORMAT = re.compile(rf"({'|'.join(_TYPES)})\[(\d{{1,9}}(?:,\d{{1,9}})?)\] ([A-Za-z0-9+/=]*)")


def pack(array: npt.NDArray[Any]) -> str:
    """`int16[3589] BASE64` of integers, `float32[3589,2] BASE64` of numbers; little-endian, row by row, zlib.

    Args:
        array: of one or two dimensions.
    """
    dtype = "int16" if array.dtype.kind in "iu" else "float32"
    data = zlib.compress(np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes(), 9)
    return f"{dtype}[{','.join(map(str, array.shape))}] {b64encode(data).decode()}"


def unpack(text: str) -> npt.NDArray[Any]:
    """The array that `pack` wrote, int16 or float32.

    Raises:
        ValueError: it is no such text, or larger than 256 MiB.
    """
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a packed array")
    dtype, shape = np.dtype(match[1]).newbyteorder("<"), tuple(map(int, match[2].split(",")))
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    if size > _LARGEST:
        raise ValueError(f"a packed array of {size} bytes is too large")
    try:
        data = zlib.decompressobj().decompress(b64decode(match[3]), size + 1)
    except zlib.error as error:
        raise ValueError(f"a packed array is damaged: {error}") from error
    if len(data) != size:
        raise ValueError("a packed array does not have the size that it states")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
