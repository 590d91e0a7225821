"""Where images come from: a folder, a zip, tar shards, or the arrays of an `.npz` file."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np

from edgefer.errors import InputError
from edgefer.host.native_output import captured_stderr
from edgefer.host.text import printable
from edgefer.images import known as remembered
from edgefer.images.arrays import open_arrays
from edgefer.images.decode import Undecodable, verify
from edgefer.images.image_formats import HEAD_BYTES, SUFFIXES, recognise
from edgefer.images.image_set import ImageSet, Skipped, listed
from edgefer.images.known import Checked
from edgefer.images.readers import Encoded, FileReader
from edgefer.images.stored import Fetch, Files, folder_files, zip_files
from edgefer.images.tars import Shards, is_tar, read_shards

FORMATS = (
    "An image set is a folder or .zip of images (flat, or one subfolder per class), a .tar or a folder of .tar shards\n"
    "  (KEY.jpg, and KEY.cls, KEY.json or KEY.txt with its label), or an .npz file with\n"
    "  `images` uint8 (N, H, W) or (N, H, W, 3) and optionally `labels` (integers), `label_names` and\n"
    "  `sequence`, the same for frames that follow each other."
)


def open_images(source: Path, *, labelled: bool = True) -> ImageSet:
    """Open an image set and check every image of it.

    The order is that of the sorted names.  Images are decoded once here and again when they are read,
    never kept; the arrays of an `.npz` file are kept, as uint8.  An image that cannot be decoded, or
    declares more than 64 megapixels, is skipped and named in `ImageSet.skipped`.  Files that are images
    neither by their name nor by their first bytes are counted in `ImageSet.passed_over`; hidden ones are
    ignored.

    What was found of the files of a large set is remembered: they are looked at again where their size or time of
    change is another.

    A folder that holds all images by itself wraps the set and is no class; any other first folder is.

    Args:
        source: a folder, a zip, a tar or a folder of such, or an `.npz` file.
        labelled: whether labels are to mean something.  Where they are not, as in calibration, they tell no
            more than which images may be alike: every folder at any depth is a class of its own, images
            beside the folders are used too, and `labels` that are none are left out.

    Raises:
        InputError: there is no such file, its format is not one of the above, or it holds no image.
    """
    try:
        if source.is_dir():
            files = folder_files(source)
            shards = [source / name for name in files if len(name.parts) == 1 and name.suffix.lower() == ".tar"]
            if shards and not any(name.suffix.lower() in SUFFIXES for name in files):
                return _open_shards(source, sorted(shards), labelled)
            return _open_files(source, files, labelled)
        if not source.is_file():
            raise InputError(f"{source}: no such file or folder", remedy=FORMATS)
        if source.suffix.lower() == ".npz":
            return open_arrays(source, _title(source), labelled)
        if source.suffix.lower() == ".zip" or zipfile.is_zipfile(source):
            return _open_files(source, zip_files(source), labelled)
        if is_tar(source):
            return _open_shards(source, [source], labelled)
    except OSError as error:
        raise InputError(f"{error.filename or source}: cannot be read: {error.strerror or error}") from error
    if source.suffix.lower() in SUFFIXES:
        raise InputError(f"{source}: is one image, not an image set", remedy="Give the folder that holds it.")
    raise InputError(f"{source}: not an image set", remedy=FORMATS)


def _open_shards(source: Path, archives: list[Path], labelled: bool) -> ImageSet:
    shards = read_shards(archives)
    return _open_files(source, shards.files, labelled, shards)


def _open_files(source: Path, files: Files, labelled: bool, shards: Shards | None = None) -> ImageSet:
    images = {path: fetch for path, fetch in files.items() if _is_image(path, fetch)}
    others = Counter(path.suffix.lower() or "without a suffix" for path in files.keys() - images.keys())
    skipped = list(shards.skipped) if shards else []
    if not images:
        found = f" that can be read, but {printable(listed(others))}" if others else ""
        found = found or "".join(f"; {each.name}: {each.reason}" for each in skipped[:1])
        raise InputError(f"{source}: holds no images{found}", remedy=f"{FORMATS}\n  Images are {', '.join(SUFFIXES)}.")
    wrapper = len(PurePosixPath(os.path.commonpath([path.parent for path in images])).parts)
    paths = {str(PurePosixPath(*path.parts[wrapper:])): path for path in images}
    stated = {name: shards.labels[path] for name, path in paths.items() if path in shards.labels} if shards else {}
    has_classes = not stated and any("/" in name for name in paths)
    ordered = sorted(paths)
    used = [name for name in ordered if not (labelled and has_classes and "/" not in name)]
    if stated and labelled:
        used = [name for name in used if name in stated]
    why = "no sidecar says what it is" if stated else "lies outside the class folders"
    checked = _check(source, {name: images[paths[name]] for name in used})
    for name in ordered:
        if name not in checked or checked[name].reason:
            skipped.append(Skipped(printable(name), checked[name].reason if name in checked else why))
    readable = {
        name: Encoded(images[paths[name]], each.digest, each.is_noisy)
        for name, each in checked.items()
        if not each.reason
    }
    if not readable:
        first = skipped[0]
        raise InputError(f"{source}: none of {len(skipped)} images can be read; {first.name}: {first.reason}")
    classes = [stated.get(name, "") if stated else printable(_class(name, labelled)) for name in readable]
    label_names = tuple(sorted(set(classes))) if stated or has_classes else ()
    index_of = {label: index for index, label in enumerate(label_names)}
    return ImageSet(
        _title(source),
        tuple(readable),
        tuple(image.digest for image in readable.values()),
        FileReader(str(source), readable),
        np.array([index_of[label] for label in classes], np.int64) if label_names else None,
        label_names,
        tuple(skipped),
        passed_over={printable(kind): count for kind, count in others.items()},
        arrays=_numbers(shards, [paths[name] for name in readable]) if shards else {},
    )


def _check(source: Path, files: Mapping[str, Fetch]) -> dict[str, Checked]:
    """What every file is, by name, in their order; those that did not change since they were looked at are not read."""
    known = remembered.load(source) if len(files) >= remembered.FEWEST else {}
    found: dict[str, tuple[str, Checked]] = {}
    with captured_stderr() as noise:
        for name, fetch in files.items():
            try:
                state = " ".join(map(str, fetch.state))
            except OSError as error:
                found[name] = ("", Checked("", reason=f"cannot be read: {error.strerror or error}"))
                continue
            before = known.get(name)
            found[name] = before if before and before[0] == state else (state, _look(fetch, noise))
    if found != known:
        remembered.save(source, found)
    return {name: checked for name, (_, checked) in found.items()}


def _look(fetch: Fetch, noise: Callable[[], str]) -> Checked:
    try:
        data = fetch(-1)
        return Checked(sha256(data).hexdigest(), verify(data, noise))
    except Undecodable as error:
        return Checked("", reason=str(error))


def _numbers(
    shards: Shards, paths: list[PurePosixPath]
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """What sidecars say of images in numbers, by name; NaN where one says nothing."""
    keys = dict.fromkeys(key for path in paths for key in shards.numbers.get(path, ()))
    return {key: np.array([shards.numbers.get(path, {}).get(key, np.nan) for path in paths]) for key in keys}


def _is_image(path: PurePosixPath, fetch: Fetch) -> bool:
    """Whether a file's name says so; if not, whether its first bytes do."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        format = recognise(fetch(HEAD_BYTES))
    except Undecodable:
        return False
    return format is not None and format.is_certain and format.size is not None


def _class(name: str, labelled: bool) -> str:
    return name.partition("/")[0] if labelled else str(PurePosixPath(name).parent)


def _title(source: Path) -> str:
    return printable(source.resolve().name)
