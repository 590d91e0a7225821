"""The zip: one archive is one string of bytes, so that reading it back strictly leaves no room for tricks.

Files are stored, not compressed: equal contents give equal bytes whatever zlib is installed, Android can map
the networks into memory as they lie there, and nothing in the archive can grow when it is read.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from edgefer.errors import InputError

_DRIVE = re.compile("[A-Za-z]:")
_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # that zip can express
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16
_SYMBOLIC_LINK = 0o120000 << 16
_KIND = 0o170000 << 16


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """An archive of `files` by path, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EARLIEST_DATE)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE
            archive.writestr(entry, content)
    return buffer.getvalue()


def read_archive(data: bytes, where: str) -> dict[str, bytes]:
    """The files of an archive that `write_archive` wrote, by path.

    What is read must give the same bytes when it is written again.  So everything else that a zip can hold is
    refused: other attributes and times, comments, gaps, data before or after, headers that contradict each other.

    Args:
        data: the archive.
        where: its name, for errors.

    Raises:
        InputError: it is damaged, altered, or holds an entry that could do harm when it is unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            for entry in entries:
                if reason := _objection(entry):
                    raise InputError(f"{where}: {entry.filename}: {reason}", remedy="Do not unpack it.")
            if sum(entry.file_size for entry in entries) > len(data):
                raise InputError(f"{where}: its files claim to be larger than it is", remedy="Do not unpack it.")
            files = {entry.filename: archive.read(entry) for entry in entries}
        same = len(files) == len(entries) and write_archive(files) == data
    except _DAMAGES as error:
        raise InputError(f"{where}: damaged: {error}", remedy="Fetch it again.") from error
    if not same:
        raise InputError(f"{where}: altered: edgefer does not write archives like this one", remedy="Fetch it again.")
    return files


# What zipfile raises for archives that are damaged, or of kinds that edgefer does not write.
_DAMAGES = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


def _objection(entry: zipfile.ZipInfo) -> str:
    """Why an entry must not be unpacked, or even read; empty where it may."""
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or _DRIVE.match(entry.filename):
        return "its path leads out of the directory that it is unpacked in"
    kind = entry.external_attr & _KIND
    if kind == _SYMBOLIC_LINK:
        return "is a symbolic link"
    if kind != _REGULAR_FILE & _KIND or str(path) != entry.filename or not entry.filename.isprintable():
        return "is no regular file with a plain name"
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        return "is compressed, and edgefer stores files as they are: it could be anything once it is unpacked"
    return ""
