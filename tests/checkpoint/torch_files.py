"""Writes files as torch.save does, without torch, so that tests can also write what torch never would."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long", "int8": "Char", "bool": "Bool"}


@dataclass
class Name:
    """A global."""

    name: str


@dataclass
class Call:
    """What REDUCE makes."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass
class New:
    """What NEWOBJ and BUILD make."""

    name: str
    state: Any = None
    args: tuple[Any, ...] = ()


@dataclass
class Stored:
    """A tensor; fields that are given override what is true of the array."""

    array: npt.NDArray[Any]
    shape: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    offset: int = 0
    type: str | None = None
    count: int | None = None


@dataclass
class _Writer:
    storages: dict[str, bytes] = field(default_factory=dict)
    legacy: bool = False

    def encode(self, value: Any) -> bytes:
        kinds: list[tuple[Any, Callable[[Any], bytes]]] = [
            (Name, lambda v: b"c%s\n%s\n" % tuple(part.encode() for part in v.name.rsplit(".", 1))),
            (Call, lambda v: self.encode(Name(v.name)) + self.encode(v.args) + b"R"),
            (New, lambda v: self.encode(Name(v.name)) + self.encode(v.args) + b"\x81" + self.encode(v.state) + b"b"),
            (Stored, self.tensor),
            (dict, lambda v: b"}(" + b"".join(self.encode(k) + self.encode(x) for k, x in v.items()) + b"u"),
            (list, lambda v: b"](" + b"".join(map(self.encode, v)) + b"e"),
            (tuple, lambda v: b"(" + b"".join(map(self.encode, v)) + b"t"),
            (object, lambda v: pickle.dumps(v, 2)[2:-1]),
        ]
        return next(encode(value) for kind, encode in kinds if isinstance(value, kind))

    def tensor(self, value: Stored) -> bytes:
        key = str(len(self.storages))
        self.storages[key] = value.array.tobytes()
        type_name = value.type or TYPES[value.array.dtype.name]
        count = value.array.size if value.count is None else value.count
        identifier = ("storage", Name(f"torch.{type_name}Storage"), key, "cpu", count)
        shape = value.array.shape if value.shape is None else value.shape
        strides = (
            tuple(s // value.array.itemsize for s in value.array.strides) if value.strides is None else value.strides
        )
        return (
            self.encode(Name("torch._utils._rebuild_tensor_v2"))
            + b"("
            + self.encode((*identifier, None) if self.legacy else identifier)
            + b"Q"
            + b"".join(map(self.encode, (value.offset, shape, strides, False, Call("collections.OrderedDict"))))
            + b"tR"
        )


def pickled(value: Any) -> bytes:
    """`value` as one pickle."""
    return b"\x80\x02" + _Writer().encode(value) + b"."


def save(path: Path, value: Any, *, data_pkl: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write `value`, or any `data_pkl`, in the zip format."""
    writer = _Writer()
    data = b"\x80\x02" + writer.encode(value) + b"."
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data if data_pkl is None else data_pkl)
        archive.writestr("archive/byteorder", "little")
        for key, items in writer.storages.items():
            archive.writestr(f"archive/data/{key}", items)
        archive.writestr("archive/version", "3\n")
    return path


def save_legacy(path: Path, value: Any) -> Path:
    """Write `value` in the format before torch 1.6."""
    writer = _Writer(legacy=True)
    system = {"protocol_version": 1001, "little_endian": True}
    head = [pickle.dumps(item, 2) for item in (MAGIC, 1001, system)]
    body = b"\x80\x02" + writer.encode(value) + b"."
    tail = pickle.dumps(list(writer.storages), 2)
    storages = [struct.pack("<q", len(items) // 4) + items for items in writer.storages.values()]
    path.write_bytes(b"".join((*head, body, tail, *storages)))
    return path


def module(kind: str, tensors: dict[str, Any] | None = None, children: dict[str, Any] | None = None, **own: Any) -> New:
    """A torch module."""
    return New(kind, {"_parameters": tensors or {}, "_buffers": {}, "_modules": children or {}, **own})


def floats(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
