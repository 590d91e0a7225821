"""Tensors that still lie in a checkpoint file: where their bytes are, and how to lift them out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Array

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
_LARGEST = 1 << 40
_BLOCK = 1 << 20


@dataclass
class Storage:
    """A run of equal items in a file.

    Attributes:
        path: the file.
        dtype: one of `ITEM_BYTES`.
        count: number of items.
        position: where the first byte lies; -1 as long as the file was not walked that far.
        big_endian: byte order of the items.
        checksum: CRC-32 of all its bytes as the file states it; None where it states none, or it was found true.
        data: the bytes, as latin-1 where text, if they lie within the file's pickle rather than beside it.
    """

    path: Path
    dtype: str
    count: int
    position: int = -1
    big_endian: bool = False
    checksum: int | None = None
    data: bytes | bytearray | str | None = None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.count * ITEM_BYTES[self.dtype]

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from the `start`-th on.

        Raises:
            InputError: the file can no longer be read, ends too early, or is not what its checksum says.
        """
        if self.data is not None:
            part = self.data[start : start + size]
            return part.encode("latin-1") if isinstance(part, str) else bytes(part)
        try:
            with self.path.open("rb") as file:
                if self.checksum is not None:
                    file.seek(self.position)
                    self._compare(file)
                file.seek(self.position + start)
                data = file.read(size)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        if len(data) != size:
            raise InputError(f"{self.path}: truncated: a tensor's last {size - len(data)} bytes are missing")
        return data

    def _compare(self, file: IO[bytes]) -> None:
        checksum, left = 0, self.size
        while left and (block := file.read(min(left, _BLOCK))):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        if checksum != self.checksum:
            raise damaged_checksum(self.path, f"{self.size} bytes of weights at {self.position}")
        self.checksum = None


def damaged_checksum(path: Path, what: str) -> InputError:
    """The error for bytes that changed after they were written."""
    return InputError(
        f"{path}: damaged: {what} do not match their checksum (CRC-32)", remedy="Download or copy the file again."
    )


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; nothing is read until `array` is called.

    Attributes:
        storage: where the items are.
        offset: index of the first item in the storage.
        shape: sizes.
        strides: steps between items along each axis, in items.

    Raises:
        InputError: the view reaches outside its storage, or repeats it to more items than it has.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        inside = (
            all(isinstance(number, int) and number >= 0 for number in numbers)
            and len(self.shape) == len(self.strides) <= 32
            and prod(self.shape) <= self.storage.count
            and prod(size or 1 for size in self.shape) <= _LARGEST
            and (not self._extent or self.offset + self._extent <= self.storage.count)
        )
        if not inside:
            raise InputError(
                f"{self.storage.path}: damaged: a tensor of shape {_short(self.shape)} and strides "
                f"{_short(self.strides)} does not lie within its {self.storage.count} stored items"
            )

    @property
    def dtype(self) -> str:
        """Element type, as torch and numpy name it."""
        return self.storage.dtype

    def array(self) -> Array:
        """The items, contiguous, in the machine's byte order; bfloat16 becomes float32.

        Raises:
            InputError: the file can no longer be read, ends too early, or is not what its checksum says.
        """
        item_bytes = ITEM_BYTES[self.dtype]
        data = self.storage.read(self.offset * item_bytes, self._extent * item_bytes)
        stored = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype)
        items = np.frombuffer(data, stored.newbyteorder(">" if self.storage.big_endian else "<"))
        steps = [stride * item_bytes if size > 1 else 0 for size, stride in zip(self.shape, self.strides, strict=True)]
        view = np.lib.stride_tricks.as_strided(items, self.shape, steps, writeable=False)
        native = np.array(view, stored, order="C")
        return (native.astype(np.uint32) << 16).view(np.float32) if self.dtype == "bfloat16" else native

    @property
    def _extent(self) -> int:
        """Items from the first to the last one, those between included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


def contiguous(storage: Storage, shape: tuple[int, ...]) -> Tensor:
    """The tensor of `shape` that lies row by row in `storage`."""
    return Tensor(storage, 0, shape, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


def _short(numbers: tuple[object, ...]) -> str:
    return f"{numbers!s:.80}"
