"""Image sets that are the arrays of an `.npz` file."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.host.text import file_stem, printable
from edgefer.images.decode import Undecodable, check_size
from edgefer.images.image_set import ImageSet
from edgefer.images.readers import ArrayReader
from edgefer.images.stored import ZIP_ERRORS

SEQUENCE = "sequence"
"""The array that says which sequence an image is a frame of."""

_KNOWN = ("images", "labels", "label_names", SEQUENCE)
MAX_ARRAY_BYTES = 4_000_000_000

FORMAT = (
    "An .npz file needs `images` uint8 (N, H, W) or (N, H, W, 3), and optionally `labels` (integers), `label_names`\n"
    "and `sequence` (whole numbers or strings), the same for frames that follow each other."
)

_HEADER_ERRORS = (SyntaxError, TokenError)
"""What numpy lets through of the parser that it reads an array's header with."""


def open_arrays(source: Path, title: str, labelled: bool) -> ImageSet:
    """The set; see `open_images`.

    Raises:
        InputError: it cannot be read, or its arrays are others.
    """
    images = _array(source, "images")
    if images is None:
        raise InputError(f"{source}: holds no array `images`", remedy=FORMAT)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        found = f"{images.dtype} {images.shape}"
        raise InputError(f"{source}: `images` is {found}; it must be uint8 (N, H, W) or (N, H, W, 3)")
    if not images.size:
        raise InputError(f"{source}: `images` has shape {images.shape}: no pixels")
    try:
        check_size(*images.shape[1:3])
    except Undecodable as error:
        raise InputError(f"{source}: an image {error}") from error
    try:
        classes, names = _array_labels(source, len(images))
    except InputError:
        if labelled:
            raise
        classes, names = None, ()
    shape = str(images.shape[1:]).encode()
    digests = tuple(sha256(shape + image.tobytes()).hexdigest() for image in images)

    rows = _rows(source, len(images))
    reader = ArrayReader(images, {name: row for row, name in enumerate(rows)})
    arrays, columns = _further_arrays(source, len(images))
    return ImageSet(title, rows, digests, reader, classes, names, arrays=arrays, columns=columns)


def _rows(source: Path, count: int) -> tuple[str, ...]:
    """A name for each image: its row, which lies in a folder that is its sequence where the file has any."""
    sequence = _array(source, SEQUENCE)
    if sequence is None:
        return tuple(map(str, range(count)))
    if sequence.shape != (count,) or sequence.dtype.kind not in "iuU":
        found = f"{sequence.dtype} {sequence.shape}"
        raise InputError(f"{source}: `{SEQUENCE}` is {found}; it must be whole numbers or strings ({count},)")
    folders = (file_stem(str(name)) or "_" for name in sequence)
    return tuple(f"{folder}/{row}" for row, folder in enumerate(folders))


def _further_arrays(source: Path, count: int) -> tuple[dict[str, npt.NDArray[Any]], dict[str, tuple[str, ...]]]:
    """What else the file says of each image, in numbers, and its lists of strings; all else is ignored."""

    def is_wanted(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        per_image = dtype.kind in "biuf" and len(shape) in (1, 2) and shape[0] == count
        return per_image or (dtype.kind == "U" and len(shape) == 1)

    with zipfile.ZipFile(source) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    found = {
        printable(name): array
        for name in members
        if name not in _KNOWN and (array := _array(source, name, is_wanted)) is not None
    }
    arrays = {name: array for name, array in found.items() if array.dtype.kind != "U"}
    columns = {name: tuple(map(printable, map(str, array))) for name, array in found.items() if name not in arrays}
    return arrays, columns


def _array_labels(source: Path, count: int) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    labels, label_names = _array(source, "labels"), _array(source, "label_names")
    if labels is None:
        return None, ()
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(f"{source}: `labels` is {labels.dtype} {labels.shape}; it must be integers ({count},)")
    if label_names is None:
        numbers, indices = np.unique(labels, return_inverse=True)
        return indices.astype(np.int64), tuple(map(str, numbers))
    if label_names.ndim != 1 or label_names.dtype.kind != "U":
        found = f"{label_names.dtype} {label_names.shape}"
        raise InputError(f"{source}: `label_names` is {found}; it must be a list of strings")
    names = tuple(printable(str(name)) for name in label_names)
    if len(set(names)) != len(names):
        raise InputError(f"{source}: `label_names` repeats a name")
    if labels.min() < 0 or labels.max() >= len(names):
        found = f"{labels.min()} to {labels.max()}"
        raise InputError(
            f"{source}: `labels` are {found}; with {len(names)} label names they must be 0 to {len(names) - 1}"
        )
    return labels.astype(np.int64), names


def _array(
    source: Path, name: str, is_wanted: Callable[[tuple[int, ...], np.dtype[Any]], bool] = lambda shape, dtype: True
) -> npt.NDArray[Any] | None:
    """One array of the file, None when it has none of that name, or none that is wanted; never unpickles."""
    try:
        with zipfile.ZipFile(source) as archive:
            if f"{name}.npy" not in archive.namelist():
                return None
            size = archive.getinfo(f"{name}.npy").file_size
            if size > MAX_ARRAY_BYTES:
                limit = f"the limit is {MAX_ARRAY_BYTES:,}"
                raise InputError(f"{source}: `{name}` has {size:,} bytes; {limit}", remedy="Use a folder or zip.")
            with archive.open(f"{name}.npy") as member:
                if not _check_header(member, size, is_wanted):
                    return None
            with archive.open(f"{name}.npy") as member:
                return _of_characters(np.lib.format.read_array(member, allow_pickle=False))
    except ZIP_ERRORS as error:
        raise InputError(f"{source}: `{name}` is not readable: {error}", remedy=FORMAT) from error


def _of_characters(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, whose strings, where it has any, are of numbers that are characters: numpy does not look."""
    if array.dtype.kind == "U" and array.nbytes:
        numbers = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if numbers.max() > sys.maxunicode:
            raise ValueError("its strings are damaged")
    return array


def _check_header(member: Any, size: int, is_wanted: Callable[[tuple[int, ...], np.dtype[Any]], bool]) -> bool:
    """Whether it is wanted; one that declares more than the file holds is refused before memory is set aside."""
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read_header(member)
    except _HEADER_ERRORS as error:
        raise ValueError("its header is damaged") from error
    if not is_wanted(shape, dtype):
        return False
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if declared > size:
        raise ValueError(f"declares {declared:,} bytes and holds {size:,}")
    return True
