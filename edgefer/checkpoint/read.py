"""Checkpoint files: PyTorch's two pickle formats and safetensors, as named tensors and plain facts."""

from __future__ import annotations

import json
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, cast

from edgefer.checkpoint.choose import Checkpoint, choose
from edgefer.checkpoint.contents import Contents, contents
from edgefer.checkpoint.tensor import ITEM_BYTES, Storage, Tensor, contiguous, damaged_checksum
from edgefer.checkpoint.unpickle import Constructor, Global, unpickle
from edgefer.errors import NOT_THE_FILE, InputError

_EXPORT = (
    "Bring the network's weights (torch.save(model.state_dict(), 'weights.pt')), "
    "or export it: torch.onnx.export(model, torch.zeros(1, 3, height, width), 'network.onnx')."
)


def read_checkpoint(path: Path, weights: str = "", anchor: re.Pattern[str] | None = None) -> Checkpoint:
    """Read a state dict, a whole pickled module, a file that holds such somewhere, or a safetensors file.

    Nothing in the file is imported, called or executed.  Tensors are located, and read when asked for.

    Args:
        path: the file.
        weights: which of several sets of weights to take, by the key that they lie under.
        anchor: matches the full name of a tensor that every network in question has; the network lies at what its
            group `prefix` matches.  Without it, the network is what has most tensors.

    Raises:
        InputError: the file is unreadable, damaged, of another kind, or wants to run something; there are no weights
            at `weights`, or several sets of equal standing.
    """
    found = _open(path)
    if not found.holders:
        raise InputError(f"{path}: holds neither a state dict nor a module", remedy=_EXPORT)
    return choose(found, weights, anchor)


def tensor_names(path: Path) -> frozenset[str]:
    """Full names of all tensors in the file.

    Raises:
        InputError: the file is unreadable, damaged, of another kind, or wants to run something.
    """
    return frozenset(_open(path).holders)


def _open(path: Path) -> Contents:
    try:
        with path.open("rb") as file:
            return _contents(path, file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except InputError as error:
        if error.message.startswith(f"{path}: "):
            raise
        raise InputError(f"{path}: {error.message}", remedy=error.remedy) from error


def _contents(path: Path, file: IO[bytes]) -> Contents:
    start = file.read(16)
    if not start:
        raise InputError(f"{path}: is empty")
    if start.startswith(b"PK"):
        return contents(path, _read_zip(path, file))
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return contents(path, _read_legacy(path, file))
    if start[7:9] == b"\0{":
        return _read_safetensors(path, file)
    raise InputError(
        f"{path}: not a checkpoint: it is neither what torch.save writes nor safetensors"
        f"{' (it looks like text)' if start.isascii() and 0 not in start else ''}",
        remedy=NOT_THE_FILE,
    )


# --- the formats ------------------------------------------------------------------------------------------


def _read_zip(path: Path, file: IO[bytes]) -> Any:
    """The format of torch 1.6 and newer: a zip of `data.pkl` and one uncompressed entry per storage."""
    try:
        archive = zipfile.ZipFile(file)
        entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise InputError(
            f"{path}: a damaged or truncated archive: {error}", remedy="Was it downloaded completely?"
        ) from error
    root = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")), None)
    if root is None or f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        what = "an archive without data.pkl" if root is None else "a TorchScript archive"
        if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in entries):
            what = "a torch.export archive (.pt2)"
        raise InputError(f"{path}: {what}, not a checkpoint", remedy=_EXPORT)

    def locate(name: str) -> tuple[int, int]:
        """Position and size of an entry's bytes."""
        entry = entries.get(name)
        if entry is None:
            raise InputError(f"{path}: damaged: its entry {name} is missing")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise InputError(
                f"{path}: its entry {name} is compressed or encrypted; torch.save does neither",
                remedy="Bring the file as torch.save wrote it.",
            )
        _require_bytes(path, file, entry.header_offset)
        file.seek(entry.header_offset)
        header = file.read(30)
        if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
            raise InputError(f"{path}: damaged: its entry {name} has no header")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        position = entry.header_offset + 30 + lengths
        _require_bytes(path, file, position + entry.file_size)
        return position, entry.file_size

    states_checksums = any(entry.CRC for entry in entries.values())  # torch can be told to leave them 0

    def checksum(name: str) -> int | None:
        return entries[name].CRC if states_checksums else None

    def entry_bytes(name: str) -> bytes:
        position, size = locate(name)
        file.seek(position)
        data = file.read(size)
        if zlib.crc32(data) != (checksum(name) or zlib.crc32(data)):
            raise damaged_checksum(path, f"the bytes of its entry {name}")
        return data

    big_endian = f"{root}byteorder" in entries and entry_bytes(f"{root}byteorder") == b"big"
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        _, kind, key, _, count = identifier
        storage = _known(storages, key, _storage(path, kind, count, big_endian))
        if storage.position < 0:
            storage.position, size = locate(f"{root}data/{key}")
            storage.checksum = checksum(f"{root}data/{key}")
            if size != storage.size:
                raise InputError(f"{path}: damaged: storage {key} has {size} bytes instead of {storage.size}")
        return storage

    value = unpickle(BytesIO(entry_bytes(f"{root}data.pkl")), _TENSORS, persistent)
    _require_apart(path, storages.values())
    return value


def _read_legacy(path: Path, file: IO[bytes]) -> Any:
    """The format before torch 1.6: five pickles, then the storages one after the other."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        stream = cast(IO[bytes], mapped)
        value = unpickle(stream, _TENSORS)
        if value != 0x1950A86A20F9469CFC6C:  # what torch.save begins with
            if contents(path, value).holders:
                return value
            raise InputError(f"{path}: a pickle, but not one that torch.save wrote, nor of arrays", remedy=_EXPORT)
        unpickle(stream)  # protocol version
        system = unpickle(stream)
        big_endian = isinstance(system, dict) and system.get("little_endian") is False
        storages: dict[str, Storage] = {}

        def persistent(identifier: Any) -> Any:
            what, *rest = identifier
            if what == "module":
                return rest[0]  # a class, with its source, which we do not look at
            kind, key, _, count, view = rest
            if view is not None:
                raise InputError(f"{path}: storage {key} is a view of another one, as torch before 0.4 wrote it")
            return _known(storages, key, _storage(path, kind, count, big_endian))

        content = unpickle(stream, _TENSORS, persistent)
        keys = unpickle(stream)
        for key in keys if isinstance(keys, list) else []:
            if not isinstance(key, str) or key not in storages:
                raise InputError(f"{path}: damaged: storage {key!s:.40} belongs to no tensor")
            count = int.from_bytes(stream.read(8), "big" if big_endian else "little")
            if count != storages[key].count:
                raise InputError(f"{path}: damaged or truncated: storage {key!s:.40} has {count} items")
            storages[key].position = stream.tell()
            _require_bytes(path, file, stream.tell() + storages[key].size)
            stream.seek(storages[key].size, 1)
    if any(storage.position < 0 for storage in storages.values()):
        raise InputError(f"{path}: damaged: a tensor has no stored items")
    return content


def _read_safetensors(path: Path, file: IO[bytes]) -> Contents:
    """A JSON header of names, types, shapes and places, then the bytes."""
    file.seek(0)
    start = 8 + int.from_bytes(file.read(8), "little")
    _require_bytes(path, file, start)
    file.seek(8)
    try:
        header = json.loads(file.read(start - 8))
        metadata = dict(header.pop("__metadata__", {}))
        tensors = {name: _safetensor(path, start, name, entry) for name, entry in header.items()}
        for tensor in tensors.values():
            _require_bytes(path, file, tensor.storage.position + tensor.storage.size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: its safetensors header is damaged: {error!s:.200}") from error
    _require_apart(path, (tensor.storage for tensor in tensors.values()))
    return Contents(path, tensors, holders=dict.fromkeys(tensors, ""), fields={"": metadata})


def _safetensor(path: Path, start: int, name: str, entry: dict[str, Any]) -> Tensor:
    dtype = _SAFETENSORS_TYPES.get(entry["dtype"])
    if dtype is None:
        raise InputError(f"{path}: tensor {name}: element type {entry['dtype']!s:.40} is not supported")
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not isinstance(begin, int) or not 0 <= begin <= end or end - begin != prod(shape) * ITEM_BYTES[dtype]:
        raise InputError(f"{path}: damaged: tensor {name} has another size than its shape says")
    return contiguous(Storage(path, dtype, prod(shape), start + begin), shape)


_SAFETENSORS_TYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
}


def _require_bytes(path: Path, file: IO[bytes], wanted: int) -> None:
    size = file.seek(0, 2)
    if wanted > size:
        raise InputError(
            f"{path}: truncated: it has {size} bytes, but its contents need {wanted}",
            remedy="Was it downloaded completely?",
        )


def _require_apart(path: Path, storages: Iterable[Storage]) -> None:
    """No two storages may have bytes in common: no writer makes such a file."""
    end = 0
    for storage in sorted(storages, key=lambda storage: (storage.position, storage.size)):
        if storage.size and storage.position < end:
            raise InputError(f"{path}: damaged: weights overlap at byte {storage.position}")
        end = max(end, storage.position + storage.size)


# --- what torch pickles a tensor as -----------------------------------------------------------------------

_STORAGE_TYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "Untyped": "uint8",
}


def _storage(path: Path, kind: Any, count: Any, big_endian: bool) -> Storage:
    name = kind.name.rpartition(".")[2].removesuffix("Storage") if isinstance(kind, Global) else str(kind)
    if name not in _STORAGE_TYPES:
        raise InputError(f"{path}: tensors of type {name[:40]} are not supported", remedy="Save them as float32.")
    if not isinstance(count, int) or count < 0:
        raise ValueError("a storage of negative size")
    return Storage(path, _STORAGE_TYPES[name], count, big_endian=big_endian)


def _known(storages: dict[str, Storage], key: Any, storage: Storage) -> Storage:
    """The storage that the file stores under `key`; several tensors may share it."""
    known = storages.setdefault(key, storage)
    if (known.dtype, known.count) != (storage.dtype, storage.count):
        raise InputError(f"{storage.path}: storage {key!s:.40} is shared by tensors of different types")
    return known


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


_TENSORS: dict[str, Constructor] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
