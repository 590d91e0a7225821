"""Reads an ONNX file, and the files that hold its weights, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import onnx

from edgefer.errors import NOT_THE_FILE, InputError
from edgefer.host.text import file_stem
from edgefer.onnx_import.external_data import load_external_data
from edgefer.onnx_import.walk import Imported, import_onnx

_LARGEST = 1 << 31  # bytes: what protobuf can hold


def read_onnx(
    path: Path,
    input_shape: tuple[int, ...] | None = None,
    states: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Imported:
    """Read a network from an ONNX file, external data included.

    Args:
        path: the file.
        input_shape: what the network's only image input has, where the file leaves dimensions open.
        states: the same for its further inputs, by name.

    Raises:
        InputError: the file is not a readable ONNX network, or not one that can be brought to static shapes and the
            operators of `OPSET`; the message names the file and the node.
    """
    model = _load(path)
    try:
        load_external_data(model, path)
        return import_onnx(model, file_stem(path.stem), input_shape, states)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", remedy=error.remedy, detail=error.detail) from error


def _load(path: Path) -> onnx.ModelProto:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: not a readable ONNX file: it is over 2 GB", remedy=NOT_THE_FILE)
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: not a readable ONNX file: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # protobuf and onnx each raise their own
        raise InputError(f"{path}: not a readable ONNX file", remedy=NOT_THE_FILE) from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: not an ONNX network: it holds no nodes or no outputs", remedy=NOT_THE_FILE)
    return model
