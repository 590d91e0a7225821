"""Where images come from: a folder, a zip, or the arrays of an `.npz` file."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from tokenize import TokenError
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.host.stderr import captured_stderr
from edgefer.host.text import printable
from edgefer.images.decode import Undecodable, check_size, decode, verify
from edgefer.images.image_formats import HEAD_BYTES, SUFFIXES, recognise
from edgefer.images.image_set import Image, ImageSet, Skipped, listed

MAX_FILE_BYTES = 256_000_000
MAX_ARRAY_BYTES = 4_000_000_000

FORMATS = (
    "An image set is a folder or .zip of images (flat, or one subfolder per class), or an .npz file with\n"
    "  `images` uint8 (N, H, W) or (N, H, W, 3) and optionally `labels` (integers) and `label_names`."
)

Files: TypeAlias = Mapping[PurePosixPath, Callable[[int], bytes]]
"""By name, what reads so many bytes of a file; all of it, where -1 is asked for."""

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, LookupError, TypeError, ValueError)
_HEADER_ERRORS = (SyntaxError, TokenError)
"""What numpy lets through of the parser that it reads an array's header with."""


def open_images(source: Path, *, labelled: bool = True) -> ImageSet:
    """Open an image set and check every image of it.

    The order is that of the sorted names.  Images are decoded once here and again when they are read,
    never kept; the arrays of an `.npz` file are kept, as uint8.  An image that cannot be decoded, or
    declares more than 64 megapixels, is skipped and named in `ImageSet.skipped`.  Files that are images
    neither by their name nor by their first bytes are counted in `ImageSet.passed_over`; hidden ones are
    ignored.

    A folder that holds all images by itself wraps the set and is no class; any other first folder is.

    Args:
        source: a folder, a zip, or an `.npz` file.
        labelled: whether labels are to mean something.  Where they are not, as in calibration, they tell no
            more than which images may be alike: every folder at any depth is a class of its own, images
            beside the folders are used too, and `labels` that are none are left out.

    Raises:
        InputError: there is no such file, its format is not one of the above, or it holds no image.
    """
    try:
        if source.is_dir():
            return _open_files(source, _folder_files(source), labelled)
        if not source.is_file():
            raise InputError(f"{source}: no such file or folder", remedy=FORMATS)
        if source.suffix.lower() == ".npz":
            return _open_arrays(source, labelled)
        if source.suffix.lower() == ".zip" or zipfile.is_zipfile(source):
            return _open_files(source, _zip_files(source), labelled)
    except OSError as error:
        raise InputError(f"{error.filename or source}: cannot be read: {error.strerror or error}") from error
    if source.suffix.lower() in SUFFIXES:
        raise InputError(f"{source}: is one image, not an image set", remedy="Give the folder that holds it.")
    raise InputError(f"{source}: not an image set", remedy=FORMATS)


def _open_files(source: Path, files: Files, labelled: bool) -> ImageSet:
    images = {path: fetch for path, fetch in files.items() if _is_image(path, fetch)}
    others = Counter(path.suffix.lower() or "without a suffix" for path in files.keys() - images.keys())
    if not images:
        found = f" that can be read, but {printable(listed(others))}" if others else ""
        raise InputError(f"{source}: holds no images{found}", remedy=f"{FORMATS}\n  Images are {', '.join(SUFFIXES)}.")
    wrapper = len(PurePosixPath(os.path.commonpath([path.parent for path in images])).parts)
    fetchers = {str(PurePosixPath(*path.parts[wrapper:])): fetch for path, fetch in images.items()}
    has_classes = any("/" in name for name in fetchers)
    digests: dict[str, str] = {}
    noisy: set[str] = set()
    skipped: list[Skipped] = []
    with captured_stderr() as noise:
        for name in sorted(fetchers):
            try:
                if labelled and has_classes and "/" not in name:
                    raise Undecodable("lies outside the class folders")
                data = fetchers[name](-1)
                if verify(data, noise):
                    noisy.add(name)
                digests[name] = sha256(data).hexdigest()
            except Undecodable as error:
                skipped.append(Skipped(printable(name), str(error)))
    if not digests:
        first = skipped[0]
        raise InputError(f"{source}: none of {len(skipped)} images can be read; {first.name}: {first.reason}")

    def read(name: str) -> Image:
        try:
            data = fetchers[name](-1)
            if name not in noisy:
                return decode(data)
            with captured_stderr():
                return decode(data)
        except Undecodable as error:
            raise InputError(f"{source}: {printable(name)} changed while in use: {error}") from error

    classes = [printable(_class(name, labelled)) for name in digests] if has_classes else []
    label_names = tuple(sorted(set(classes)))
    index_of = {label: index for index, label in enumerate(label_names)}
    labels = np.array([index_of[label] for label in classes], np.int64) if has_classes else None
    names, kinds = tuple(digests), {printable(kind): count for kind, count in others.items()}
    return ImageSet(
        _title(source), names, tuple(digests.values()), read, labels, label_names, tuple(skipped), passed_over=kinds
    )


def _class(name: str, labelled: bool) -> str:
    return name.partition("/")[0] if labelled else str(PurePosixPath(name).parent)


def _is_image(path: PurePosixPath, fetch: Callable[[int], bytes]) -> bool:
    """Whether a file's name says so; if not, whether its first bytes do."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        format = recognise(fetch(HEAD_BYTES))
    except Undecodable:
        return False
    return format is not None and format.is_certain and format.size is not None


def _folder_files(root: Path) -> Files:
    files = {}
    for path in _walk(root, set()):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if not _is_hidden(relative):
            files[relative] = _file_reader(path)
    return files


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Everything below `folder` that is no folder; links are followed, each folder is entered once."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif not path.name.startswith("."):
            yield from _walk(path, seen)


def _file_reader(path: Path) -> Callable[[int], bytes]:
    def fetch(count: int) -> bytes:
        try:
            status = path.stat()
            if not S_ISREG(status.st_mode):
                raise Undecodable("is not a regular file")
            _check_bytes(status.st_size, count)
            with path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror or error}") from error

    return fetch


def _zip_files(source: Path) -> Files:
    try:
        archive = zipfile.ZipFile(source)
    except _ZIP_ERRORS as error:
        raise InputError(
            f"{source}: not a readable zip: {error}", remedy="It may be truncated: copy it again."
        ) from error
    files = {}
    for info in archive.infolist():
        parts = [part for part in PurePosixPath(info.filename.replace("\\", "/")).parts if part not in ("/", "..")]
        relative = PurePosixPath(*parts)
        if not info.is_dir() and not _is_hidden(relative):
            files[relative] = _zip_reader(archive, info)
    return files


def _zip_reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def fetch(count: int) -> bytes:
        _check_bytes(info.file_size, count)
        try:
            with archive.open(info) as file:
                return file.read(count)
        except _ZIP_ERRORS as error:
            raise Undecodable(f"cannot be unpacked: {error}") from error

    return fetch


def _check_bytes(size: int, count: int) -> None:
    if count < 0 and size > MAX_FILE_BYTES:
        raise Undecodable(f"has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}")


def _is_hidden(path: PurePosixPath) -> bool:
    """As systems hide files, each in its way."""
    litter = path.name.lower() in ("thumbs.db", "desktop.ini")
    return litter or any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _open_arrays(source: Path, labelled: bool) -> ImageSet:
    images = _array(source, "images")
    if images is None:
        raise InputError(f"{source}: holds no array `images`", remedy=FORMATS)
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

    def read(name: str) -> Image:
        image = images[int(name)]
        return image.copy() if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)

    numbers = tuple(map(str, range(len(images))))
    arrays, columns = _further_arrays(source, len(images))
    return ImageSet(_title(source), numbers, digests, read, classes, names, arrays=arrays, columns=columns)


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
        if name not in ("images", "labels", "label_names") and (array := _array(source, name, is_wanted)) is not None
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
    except _ZIP_ERRORS as error:
        raise InputError(f"{source}: `{name}` is not readable: {error}", remedy=FORMATS) from error


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


def _title(source: Path) -> str:
    return printable(source.resolve().name)
