"""Weights in files of their own beside the network's, read from nowhere else.

The network's file says where they are, and it may be hostile: a place must lie below the directory of the file that
the user names, links followed.  A model hub's cache is made of links to blobs, so where the network's own file is such
a link, the directory that it leads to counts as well.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto, helper

from edgefer.errors import InputError

_LARGEST = 1 << 31  # bytes of weights: far more than any device that edgefer is for can hold
_BESIDE = "Put the files that hold its weights beside it, under the names that they had."


def load_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Bring all tensors that lie in other files into `model`, which was read from `path`.

    Raises:
        InputError: a file is absent, too short, over 2 GB in all, or not where it may be.
    """
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        size = _size(tensor)
        total += size
        if total > _LARGEST:
            raise InputError("its weights are over 2 GB", remedy="edgefer is for networks of phones and boards.")
        offset = place.get("offset", "0")
        if not offset.isdecimal():
            raise InputError(f"tensor {tensor.name!r} is damaged: it begins at {offset!r} of its file")
        tensor.raw_data = _read(path, place.get("location", ""), int(offset), size)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _read(path: Path, location: str, offset: int, size: int) -> bytes:
    file = _find(path, location)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"its weights in {location!r} cannot be read: that is no file", remedy=_BESIDE)
        if file.stat().st_size < offset + size:
            raise InputError(f"its weights in {location!r} are cut off", remedy="Download or export them again.")
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(size)
    except OSError as error:
        raise InputError(
            f"its weights in {location!r} cannot be read: {error.strerror or error}", remedy=_BESIDE
        ) from error


def _find(path: Path, location: str) -> Path:
    relative = PurePosixPath(location.replace("\\", "/"))
    outside = InputError(
        f"it says that its weights are in {location!r}, which is outside its directory",
        remedy="Copy the network and the files that hold its weights into one directory.",
    )
    if not location or relative.is_absolute() or ".." in relative.parts or PureWindowsPath(location).drive:
        raise outside
    try:
        file = (path.parent / relative).resolve()
        roots = (path.parent.resolve(), path.resolve().parent)
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise InputError(f"its weights in {location!r} cannot be found", remedy=_BESIDE) from error
    if not any(file.is_relative_to(root) for root in roots):
        raise outside
    return file


def _size(tensor: TensorProto) -> int:
    try:
        itemsize = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"tensor {tensor.name!r} is damaged: it has no type") from error
    if any(dim < 0 for dim in tensor.dims):
        raise InputError(f"tensor {tensor.name!r} is damaged: its shape is {list(tensor.dims)}")
    count = math.prod(int(dim) for dim in tensor.dims)
    bits = 4 if TensorProto.DataType.Name(tensor.data_type) in ("INT4", "UINT4", "FLOAT4E2M1") else 8 * itemsize
    return -(-count * bits // 8)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _of_graph(graph)
