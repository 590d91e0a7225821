"""TFLite's flatbuffer: the runtime's own schema, lean packing with aligned buffers, and named metadata."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Array

schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # bytes; the generated code does not keep the schema's own
_OVERHEAD = 1 << 18  # bytes, about what a few hundred tensors and operators take


def table(kind: str, **fields: Any) -> Any:
    """A table of the schema's object API; a field it does not have is a mistake of ours."""
    made = getattr(schema, f"{kind}T")()
    for field, value in fields.items():
        if not hasattr(made, field):
            raise AttributeError(f"{kind} has no field {field}")
        setattr(made, field, value)
    return made


def pack(model: Any) -> bytes:
    """The file of a `ModelT`; equal vectors are written once, and its buffers are aligned."""
    contents = [b"" if buffer.data is None else bytes(buffer.data) for buffer in model.buffers]
    builder: Any = _Builder(sum(map(len, contents)) + _OVERHEAD)
    model.buffers = [_Buffer(content) for content in contents]
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(memoryview(builder.Bytes)[builder.Head() :])  # as `Output`, which copies once more


def unpack(model: bytes) -> Any:
    """The `ModelT` of a file, whose buffers are views of it.

    Raises:
        InputError: it is not a TFLite file.
    """
    if model[4:8] != _FILE_IDENTIFIER:
        raise InputError("not a TFLite file")
    return schema.ModelT.InitFromPackedBuf(model, 0)


def add_metadata(model: Any, name: str, content: bytes) -> None:
    """Store `content` in a `ModelT` under `name`."""
    model.buffers = [*model.buffers, table("Buffer", data=np.frombuffer(content, np.uint8))]
    entry = table("Metadata", name=name, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Lets tables share equal vectors: every channel of all weights has a zero point, and they are all zero."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802 - the generated code calls it
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]


@dataclass(frozen=True)
class _Buffer:
    """Stands in for the schema's `BufferT`, whose `Pack` does not align."""

    content: bytes

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated code calls it
        content = None
        if self.content:
            builder.Prep(_BUFFER_ALIGNMENT, len(self.content))
            content = builder.CreateByteVector(self.content)
        schema.BufferStart(builder)
        if content is not None:
            schema.BufferAddData(builder, content)
        return int(schema.BufferEnd(builder))
