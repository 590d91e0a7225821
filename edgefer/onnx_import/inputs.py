"""What a network is given: shapes that a file leaves open, closed."""

from __future__ import annotations

from collections.abc import Container, Mapping

import onnx

from edgefer.errors import InputError
from edgefer.graph.ir import TensorInfo
from edgefer.onnx_import.precision import Precision


def input_info(
    graph: onnx.GraphProto,
    read: Container[str],
    input_shape: tuple[int, ...] | None,
    states: Mapping[str, tuple[int, ...]],
    precision: Precision,
) -> dict[str, TensorInfo]:
    """Shape and dtype of each input that is `read`.

    Where they are open, those of `states` are as stated; of others the batch is of one, and the rest as in
    `input_shape`.  Dimensions of one name have one size.

    Raises:
        InputError: a dimension stays open.
    """
    values = [value for value in taken_by(graph) if value.name in read]
    images = [value for value in values if value.name not in states]
    sizes: dict[str, int] = {}
    found: dict[str, TensorInfo] = {}
    for value in values:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise InputError(
                f"input {value.name!r} has no shape", remedy="Export the network with a fixed input shape."
            )
        dims = tensor.shape.dim
        stated = states.get(value.name, input_shape if len(images) == 1 else None)
        wanted = stated if stated is not None and len(stated) == len(dims) else None
        shape = []
        for axis, dim in enumerate(dims):
            size = 1 if axis == 0 and dim.dim_value <= 0 and value.name not in states else dim.dim_value
            size = size if size > 0 else sizes.get(dim.dim_param, 0) or (wanted[axis] if wanted else 0)
            if size <= 0:
                raise InputError(
                    f"input {value.name!r}: dimension {axis} ({dim.dim_param or '?'}) has no fixed size",
                    remedy="Export with a fixed image size, or state input.size in the Spec.",
                )
            if dim.dim_param:
                sizes.setdefault(dim.dim_param, size)
            shape.append(size)
        dtype = precision.element_type(tensor.elem_type, f"input {value.name!r}")
        found[value.name] = TensorInfo(tuple(shape), dtype)
    return found


def taken_by(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What a caller has to feed: inputs that are no initialisers."""
    known = {tensor.name for tensor in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    return [value for value in graph.input if value.name not in known]
