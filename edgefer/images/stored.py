"""Where encoded images lie: in folders and archives, each file by name, read when it is asked for.

Nothing is unpacked: what a name says is never where something is written.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Protocol, TypeAlias

from edgefer.errors import InputError
from edgefer.images.decode import Undecodable

MAX_FILE_BYTES = 256_000_000

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, LookupError, TypeError, ValueError)


class Fetch(Protocol):
    """Reads a file; can be pickled."""

    def __call__(self, count: int) -> bytes:
        """So many bytes of it; all of it, where -1 is asked for.

        Raises:
            Undecodable: it cannot be read, or is too large.
        """
        ...

    @property
    def state(self) -> tuple[int, ...]:
        """What changes when the file does: of it, or of the archive that it lies in, bytes and time of change.

        Raises:
            OSError: it is gone.
        """
        ...


Files: TypeAlias = Mapping[PurePosixPath, Fetch]


@dataclass(frozen=True, slots=True)
class Carried:
    """A file in memory."""

    data: bytes

    def __call__(self, count: int) -> bytes:
        """See `Fetch`."""
        return self.data if count < 0 else self.data[:count]

    @property
    def state(self) -> tuple[int, ...]:
        """Never changes."""
        return ()


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file by its path."""

    path: Path

    def __call__(self, count: int) -> bytes:
        """See `Fetch`."""
        try:
            status = self.path.stat()
            if not S_ISREG(status.st_mode):
                raise Undecodable("is not a regular file")
            _check_bytes(status.st_size, count)
            with self.path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror or error}") from error

    @property
    def state(self) -> tuple[int, ...]:
        """See `Fetch`."""
        return _state(self.path)


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in a zip."""

    archive: Path
    info: zipfile.ZipInfo

    def __call__(self, count: int) -> bytes:
        """See `Fetch`."""
        _check_bytes(self.info.file_size, count)
        try:
            with _archive(self.archive, _state(self.archive)).open(self.info) as file:
                return file.read(count)
        except ZIP_ERRORS as error:
            raise Undecodable(f"cannot be unpacked: {error}") from error

    @property
    def state(self) -> tuple[int, ...]:
        """See `Fetch`."""
        return (*_state(self.archive), self.info.header_offset)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar: a stretch of it."""

    archive: Path
    offset: int
    size: int

    def __call__(self, count: int) -> bytes:
        """See `Fetch`."""
        _check_bytes(self.size, count)
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size if count < 0 else min(count, self.size))
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror or error}") from error

    @property
    def state(self) -> tuple[int, ...]:
        """See `Fetch`."""
        return (*_state(self.archive), self.offset)


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns)


@lru_cache(8)
def _archive(path: Path, state: tuple[int, ...]) -> zipfile.ZipFile:
    """Kept open; another one where the file is another."""
    return zipfile.ZipFile(path)


def _check_bytes(size: int, count: int) -> None:
    if count < 0 and size > MAX_FILE_BYTES:
        raise Undecodable(f"has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}")


def folder_files(root: Path) -> Files:
    """Files of a folder, at any depth, without those that are hidden.

    Raises:
        OSError: a folder cannot be read.
    """
    files = {}
    for path in _walk(root, set()):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if not _is_hidden(relative):
            files[relative] = FolderFile(path)
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


def zip_files(source: Path) -> Files:
    """Files of a zip, without those that are hidden.

    Raises:
        InputError: it cannot be read.
    """
    try:
        archive = _archive(source, _state(source))
    except ZIP_ERRORS as error:
        raise InputError(
            f"{source}: not a readable zip: {error}", remedy="It may be truncated: copy it again."
        ) from error
    files = {}
    for info in archive.infolist():
        parts = [part for part in PurePosixPath(info.filename.replace("\\", "/")).parts if part not in ("/", "..")]
        relative = PurePosixPath(*parts)
        if parts and not info.is_dir() and not _is_hidden(relative):
            files[relative] = ZipMember(source, info)
    return files


def _is_hidden(path: PurePosixPath) -> bool:
    """As systems hide files, each in its way."""
    litter = path.name.lower() in ("thumbs.db", "desktop.ini")
    return litter or any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
