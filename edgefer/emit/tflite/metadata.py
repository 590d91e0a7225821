"""TFLite Metadata: what a file's input and outputs mean, readable by Android's and MediaPipe's libraries.

The flatbuffer (`ModelMetadata`, file identifier M001) is small and its schema frozen, so it is built by slot
numbers; the label files it names are appended to the model as an uncompressed zip.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import flatbuffers

from edgefer.emit.tflite.flatbuffer import add_metadata, pack, schema, unpack
from edgefer.spec import OutputSpec, Spec

METADATA_NAME = "TFLITE_METADATA"
"""Name of the entry that holds the Metadata flatbuffer."""

SPEC_FILE = "spec.json"
"""Name of the associated file that holds the Spec."""

_FILE_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
_IMAGE_PROPERTIES = 2  # in the union ContentProperties
_NORMALIZATION_OPTIONS = 1  # in the union ProcessUnitOptions
_RGB = 1
_TENSOR_AXIS_LABELS = 2
_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # that zip can express

Field: TypeAlias = tuple[str, int]
"""Kind of a table's field ("offset", "byte" or "uint") and its content, an offset or a number."""


def describe(model: bytes, spec: Spec, name: str) -> bytes:
    """`model` with its Metadata, label files and Spec in it, whoever wrote it.

    Raises:
        InputError: it is not a TFLite file.
    """
    tables = unpack(model)
    heads = ", ".join(output.name for output in spec.outputs)
    is_int8 = tables.subgraphs[0].tensors[tables.subgraphs[0].inputs[0]].type == schema.TensorType.INT8
    metadata = build_metadata(spec, name, f"Takes pixels, returns {heads}.", is_int8=is_int8)
    add_metadata(tables, METADATA_NAME, metadata)
    return append_associated_files(pack(tables), associated_files(spec))


def build_metadata(spec: Spec, name: str, description: str, *, is_int8: bool = False) -> bytes:
    """The Metadata of an artifact that takes pixels and normalises inside.

    Args:
        spec: what the network means.
        name: of the network.
        description: one sentence for people.
        is_int8: whether it takes pixels less 128.
    """
    builder: Any = flatbuffers.Builder(1 << 10)
    subgraph = _table(
        builder,
        {
            2: ("offset", _tables(builder, [_input(builder, spec, is_int8)])),
            3: ("offset", _tables(builder, [_output(builder, spec, output) for output in spec.outputs])),
        },
    )
    document = _table(builder, {0: _string(builder, SPEC_FILE), 1: _string(builder, "The network's Spec.")})
    root = _table(
        builder,
        {
            0: _string(builder, name),
            1: _string(builder, description),
            3: ("offset", _tables(builder, [subgraph])),
            6: ("offset", _tables(builder, [document])),
            7: _string(builder, _MIN_PARSER_VERSION),
        },
    )
    builder.Finish(root, file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def associated_files(spec: Spec) -> dict[str, bytes]:
    """The files that the Metadata names: labels of each head, one per line, and the Spec."""
    labels = {_label_file(spec, output): ("\n".join(output.labels) + "\n").encode() for output in spec.outputs}
    return {**labels, SPEC_FILE: json.dumps(spec.to_dict()).encode()}


def append_associated_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """`model` with `files` behind it as an uncompressed zip, which runtimes ignore and unzip can read."""
    buffer = io.BytesIO()
    buffer.write(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EARLIEST_DATE)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _label_file(spec: Spec, output: OutputSpec) -> str:
    return "labels.txt" if len(spec.outputs) == 1 else f"labels_{output.name}.txt"


def _input(builder: Any, spec: Spec, is_int8: bool) -> int:
    height, width = spec.input.size
    size = _table(builder, {0: ("uint", width), 1: ("uint", height)})
    image = _table(builder, {0: ("byte", _RGB), 1: ("offset", size)})
    content = _table(builder, {0: ("byte", _IMAGE_PROPERTIES), 1: ("offset", image)})
    normalization = _table(builder, {0: _floats(builder, [0.0]), 1: _floats(builder, [1.0])})
    unit = _table(builder, {0: ("byte", _NORMALIZATION_OPTIONS), 1: ("offset", normalization)})
    low, high, less = (-128.0, 127.0, ", less 128") if is_int8 else (0.0, 255.0, "")
    stats = _table(builder, {0: _floats(builder, [high]), 1: _floats(builder, [low])})
    return _table(
        builder,
        {
            0: _string(builder, "image"),
            1: _string(builder, f"RGB pixels, 0 to 255{less}. The network normalises them itself."),
            3: ("offset", content),
            4: ("offset", _tables(builder, [unit])),
            5: ("offset", stats),
        },
    )


def _output(builder: Any, spec: Spec, output: OutputSpec) -> int:
    labels = _table(
        builder,
        {
            0: _string(builder, _label_file(spec, output)),
            1: _string(builder, "Labels, one per column."),
            2: ("byte", _TENSOR_AXIS_LABELS),
        },
    )
    return _table(
        builder,
        {
            0: _string(builder, output.name),
            1: _string(builder, f"{output.kind}, {output.activation} applied"),
            6: ("offset", _tables(builder, [labels])),
        },
    )


def _table(builder: Any, fields: Mapping[int, Field]) -> int:
    """A table from its fields by slot; the contents of offset fields are already written."""
    builder.StartObject(max(fields) + 1)
    for slot, (kind, content) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, content, 0)
        elif kind == "byte":
            builder.PrependInt8Slot(slot, content, 0)
        else:
            builder.PrependUint32Slot(slot, content, 0)
    return int(builder.EndObject())


def _string(builder: Any, text: str) -> Field:
    return ("offset", builder.CreateString(text))


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: Any, numbers: Sequence[float]) -> Field:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependFloat32(number)
    return ("offset", int(builder.EndVector()))
