"""Where the largest or smallest numbers are, and vectors that say where; LiteRT's own kernels compute them."""

from __future__ import annotations

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import identity
from edgefer.emit.tflite.ops.logic import stored_last
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar
from edgefer.graph.patterns import number_of_places

_TYPES = {"int32": schema.TensorType.INT32, "int64": schema.TensorType.INT64}


@emits("ArgMax", "ArgMin")
def place_of_extreme(at: Site) -> None:
    """The index of the first, or the last, of the largest or smallest numbers along an axis."""
    at = at.in_float()
    rank = len(at.shape())
    axis = at.node.int("axis") % rank
    layout = identity(rank)
    source = at.input(0, layout)
    target = at.output(identity(len(at.output_shape)))
    kept = [size for other, size in enumerate(at.shape()) if other != axis]
    whole = at.values.writer.tensor(f"{at.node.output}/index", kept, "int64")
    result = target if not at.node.int("keepdims", 1) else whole
    if at.node.int("select_last_index"):
        turned = at.temporary(at.shape(), "turned")
        at.emit("REVERSE_V2", [source, at.integers([axis], "axis")], turned, "ReverseV2Options")
        backwards = at.values.writer.tensor(f"{at.node.output}/backwards", kept, "int64")
        _index(at, turned, axis, backwards)
        last = at.values.constant("last", np.asarray(at.shape()[axis] - 1, np.int64))
        at.emit("SUB", [last, backwards], result, "SubOptions")
    else:
        _index(at, source, axis, result)
    if result != target:
        at.values.reshape_into(result, target)


def _index(at: Site, source: int, axis: int, target: int, op: str = "") -> None:
    op = op or {"ArgMax": "ARG_MAX", "ArgMin": "ARG_MIN"}[at.node.op]
    kind = _TYPES[at.values.writer.tensors[target].dtype]
    options = {"ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions"}[op]
    at.emit(op, [source, at.integers([axis], "axis")], target, options, outputType=int(kind))


@emits("Hardmax")
def hardmax(at: Site) -> None:
    """1 where the first of the largest numbers along an axis is, 0 elsewhere."""
    at = at.in_float()
    shape = at.shape()
    axis = at.node.int("axis", -1) % len(shape)
    index = at.values.writer.tensor(f"{at.node.output}/index", shape[:axis] + shape[axis + 1 :], "int32")
    _index(at, at.input(0, identity(len(shape))), axis, index, "ARG_MAX")
    _one_hot(at, index, shape[axis], axis, (0.0, 1.0))


@emits("OneHot")
def one_hot(at: Site) -> None:
    """For each index, a number at its place along a new axis, and another everywhere else."""
    depth, values = at.constant(1), at.constant(2)
    assert depth is not None
    assert values is not None
    if values.dtype != np.float32:
        raise at.unsupported(f"values of type {values.dtype}")
    shape, count = at.shape(), int(depth.item())
    source = at.input(0, identity(len(shape)))
    index = at.values.writer.tensor(f"{at.node.output}/whole", shape, "int32")
    types = {"inDataType": _type(at.graph.info[at.node.inputs[0]].dtype.name), "outDataType": _TYPES["int32"]}
    at.emit("CAST", [source], index, "CastOptions", **types)
    if not number_of_places(at.graph, at.node.inputs[0]):
        index = _from_the_end(at, index, count)
    off, on = (float(number) for number in values)
    _one_hot(at, index, count, at.node.int("axis", -1) % len(at.output_shape), (off, on))


def _from_the_end(at: Site, index: int, count: int) -> int:
    """Indices, of which those below 0 count from the end."""
    negative, moved, counted = (
        at.values.writer.tensor(f"{at.node.output}/{name}", at.shape(), dtype)
        for name, dtype in (("negative", "bool"), ("moved", "int32"), ("index", "int32"))
    )
    at.emit("LESS", [index, at.values.constant("zero", np.asarray(0, np.int32))], negative, "LessOptions")
    at.emit("ADD", [index, at.values.constant("depth", np.asarray(count, np.int32))], moved, "AddOptions")
    at.emit("SELECT_V2", [negative, moved, index], counted, "SelectV2Options")
    return counted


def _one_hot(at: Site, index: int, depth: int, axis: int, values: tuple[float, float]) -> None:
    target = at.output(identity(len(at.output_shape)))
    off, on = (scalar(at, number, target) for number in values)
    inputs = [index, at.values.constant("depth", np.asarray(depth, np.int32)), on, off]
    at.emit("ONE_HOT", inputs, target, "OneHotOptions", axis=axis)


@emits("TopK")
def top_k(at: Site) -> None:
    """The k largest or smallest numbers along an axis, in order, and where they are; which are first, among equals."""
    at = at.in_float()
    count = at.constant(1)
    assert count is not None
    k, axis = int(count.item()), at.node.int("axis", -1) % len(at.shape())
    layout = stored_last(at, axis)
    source = at.input(0, layout)
    shape = (*at.values.writer.tensors[source].shape[:-1], k)
    smallest = not at.node.int("largest", 1)
    if smallest:
        negated = at.temporary(at.values.writer.tensors[source].shape, "negated")
        at.emit("NEG", [source], negated, "NegOptions")
        source = negated
    read = {*at.graph.consumers, *at.graph.outputs}
    names = [value if value in read else "" for value in (*at.node.outputs, "")][:2]
    values = at.temporary(shape, "largest") if smallest or not names[0] else at.output(layout)
    places = at.values.writer.tensor(f"{names[0] or names[1]}/places", shape, "int32")
    inputs = [source, at.values.constant("k", np.asarray(k, np.int32))]
    at.values.writer.operator("TOPK_V2", inputs, [values, places], "TopKV2Options")
    if smallest and names[0]:
        at.emit("NEG", [values], at.output(layout), "NegOptions")
    if names[1]:
        types = {"inDataType": _TYPES["int32"], "outDataType": _TYPES["int64"]}
        at.emit("CAST", [places], at.output(layout, 1), "CastOptions", **types)


def _type(dtype: str) -> int:
    return int(getattr(schema.TensorType, dtype.upper()))
