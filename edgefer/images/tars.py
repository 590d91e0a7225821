"""Tar shards as WebDataset writes them: `key.jpg`, and `key.cls`, `key.json` or `key.txt` with what is known of it.

A shard is read from front to back once, its headers alone; an image is then a stretch of the file.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import cast

from edgefer.errors import InputError
from edgefer.host.text import printable
from edgefer.images.decode import Undecodable
from edgefer.images.image_set import Skipped
from edgefer.images.stored import Fetch, TarMember

CLASSES = "classes.txt"
"""Beside the shards, or in one: names of the classes that numbers in `.cls` and `.json` are, one a line."""

_SIDECARS = (".cls", ".json", ".txt")
_MAX_HEADER_BYTES = 1_000_000
_MAX_SIDECAR_BYTES = 100_000
_LABEL_KEYS = ("label", "cls", "class", "expression")
_END = bytes(tarfile.BLOCKSIZE)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


@dataclass(eq=False)
class Shards:
    """What tar shards hold.

    Attributes:
        files: all that may be images, by name.
        labels: by name of an image, where a sidecar says so.
        numbers: what else `key.json` says in numbers, by name of an image.
        skipped: what is not used, and why.
    """

    files: dict[PurePosixPath, Fetch] = field(default_factory=dict)
    labels: dict[PurePosixPath, str] = field(default_factory=dict)
    numbers: dict[PurePosixPath, Mapping[str, float]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, by its name or its first block."""
    if path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")):
        return True
    with path.open("rb") as file:
        return file.read(tarfile.BLOCKSIZE)[257:262] == b"ustar"


def read_shards(archives: Sequence[Path]) -> Shards:
    """Find images and what is known of them.

    Raises:
        InputError: a shard is damaged, compressed, or holds a name that another holds too.
        OSError: it cannot be read.
    """
    found = Shards()
    sidecars: dict[PurePosixPath, dict[str, TarMember]] = {}
    for archive in archives:
        for member in _members(archive):
            name = PurePosixPath(member.name)
            where = TarMember(archive, member.offset_data, member.size)
            if reason := _unusable(member, name):
                found.skipped.append(Skipped(printable(member.name), reason))
            elif name.suffix.lower() in _SIDECARS and name.name != CLASSES:
                sidecars.setdefault(_key(name), {})[name.suffix.lower()] = where
            elif name in found.files:
                raise InputError(
                    f"{archive}: holds a second {printable(str(name))}", remedy="Keys must differ, in all shards."
                )
            elif not any(part.startswith(".") for part in name.parts):
                found.files[name] = where
    classes = _classes(archives, found)
    for name in list(found.files):
        if (known := sidecars.get(_key(name))) is not None:
            _take(found, name, known, classes)
    return found


def _members(archive: Path) -> Iterator[tarfile.TarInfo]:
    """Headers of all that is no folder."""
    with archive.open("rb") as file:
        if (kind := _COMPRESSED.get(file.read(2))) is not None:
            raise InputError(
                f"{archive}: is compressed by {kind}, and single images cannot be read from such",
                remedy="Unpack the .tar from it: images are compressed as they are.",
            )
        file.seek(0)
        previous = -1
        try:
            with tarfile.open(fileobj=cast(BufferedReader, _Headers(file)), mode="r:") as opened:
                while (member := opened.next()) is not None:
                    if member.size < 0 or member.offset <= previous:
                        raise tarfile.ReadError("a size is negative")
                    previous = member.offset
                    opened.members.clear()  # type: ignore[attr-defined]  # it would grow with the archive
                    if not member.isdir():
                        yield member
                end = opened.offset
        except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
            reason = str(error) or "damaged"
            raise InputError(
                f"{archive}: not a readable tar: {reason}", remedy="It may be truncated: copy it again."
            ) from error
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) not in (b"", _END):
            raise InputError(
                f"{archive}: damaged at byte {end:,}: no header of a file",
                remedy="It may be truncated: copy it again.",
            )


class _Headers:
    """A file of which only headers are read: one that is larger than any honest one is refused."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.seek, self.tell, self.name = file.seek, file.tell, file.name

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes; the limit is {_MAX_HEADER_BYTES:,}")
        return self._file.read(size)


def _unusable(member: tarfile.TarInfo, name: PurePosixPath) -> str:
    if not member.isreg():
        return "is a link, or no file, which is not followed"
    if member.issparse():
        return "is stored sparsely"
    if name.is_absolute() or ".." in name.parts:
        return "has a name that leads out of the archive"
    return ""


def _key(name: PurePosixPath) -> PurePosixPath:
    """Of a sample: all before the first dot of the file's name."""
    return name.with_name(name.name.partition(".")[0] or name.name)


def _classes(archives: Sequence[Path], found: Shards) -> Sequence[str]:
    inside = found.files.pop(PurePosixPath(CLASSES), None)
    beside = archives[0].with_name(CLASSES)
    if inside is None and not beside.is_file():
        return ()
    text = (inside(-1) if inside is not None else beside.read_bytes()).decode("utf-8", "replace")
    return [printable(line.strip()) for line in text.splitlines() if line.strip()]


def _take(found: Shards, name: PurePosixPath, known: Mapping[str, TarMember], classes: Sequence[str]) -> None:
    """Note what sidecars say of an image; one that says nonsense makes the image one that is not used."""
    try:
        text = {kind: _text(member) for kind, member in known.items()}
        facts = json.loads(text[".json"]) if ".json" in text else {}
        if not isinstance(facts, dict):
            facts = {"label": facts}
        stated = [text.get(".cls"), *(facts.get(key) for key in _LABEL_KEYS), text.get(".txt")]
        label = next((each for each in stated if isinstance(each, int | str) and str(each).strip()), None)
        if label is not None:
            found.labels[name] = _named(str(label).strip(), classes)
        numbers = {
            printable(key): float(value)
            for key, value in facts.items()
            if key not in _LABEL_KEYS and isinstance(value, int | float) and isfinite(value)
        }
        if numbers:
            found.numbers[name] = numbers
    except (ValueError, RecursionError, OverflowError, Undecodable) as error:
        del found.files[name]
        found.labels.pop(name, None)
        found.skipped.append(Skipped(printable(str(name)), f"what is known of it cannot be read: {error}"))


def _text(member: TarMember) -> str:
    if member.size > _MAX_SIDECAR_BYTES:
        raise ValueError(f"{member.size:,} bytes; the limit is {_MAX_SIDECAR_BYTES:,}")
    return member(-1).decode("utf-8")


def _named(label: str, classes: Sequence[str]) -> str:
    if not classes or not label.isdecimal():
        return printable(label)
    if int(label) >= len(classes):
        raise ValueError(f"class {label}, and {CLASSES} names {len(classes)}")
    return classes[int(label)]
