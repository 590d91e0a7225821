"""Normalisation by the statistics of the value itself, in float, step by step: there is no operator for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC, Layout
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar
from edgefer.graph.ir import Array

_EPSILON = 1e-5  # ONNX's default for both


@emits("LayerNormalization")
def layer_normalisation(at: Site) -> None:
    """Over all axes from the one stated, with a scale and bias for each place."""
    if any(at.node.outputs[1:]):
        raise at.unsupported("mean or deviation as output")
    rank = len(at.shape())
    first = at.node.int("axis", -1) % rank
    _normalise(at, range(first, rank), [at.constant(index) for index in (1, 2)])


@emits("InstanceNormalization")
def instance_normalisation(at: Site) -> None:
    """Over all axes behind the channels, with a scale and bias for each channel."""
    rank = len(at.shape())
    stated = [at.constant(index) for index in (1, 2)]
    affine = [None if array is None else array.reshape(-1, *(1,) * (rank - 2)) for array in stated]
    _normalise(at, range(2, rank), affine)


@emits("LRN")
def local_response(at: Site) -> None:
    """By the squares of as many channels to either side, which are stored last."""
    at = at.in_float()
    at.require_rank(4)
    size = at.node.int("size")
    if size % 2 == 0:
        raise at.unsupported(f"a window of {size} channels")
    at.emit(
        "LOCAL_RESPONSE_NORMALIZATION",
        [at.input(0, NHWC)],
        at.output(NHWC),
        "LocalResponseNormalizationOptions",
        radius=size // 2,
        bias=at.node.float("bias", 1.0),
        alpha=at.node.float("alpha", 1e-4) / size,
        beta=at.node.float("beta", 0.75),
    )


def _normalise(at: Site, axes: Sequence[int], affine: Sequence[Array | None]) -> None:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias, what is neutral left out."""
    at = at.in_float()
    layout = at.layout()
    x = at.input(0, layout)
    shape = at.values.writer.tensors[x].shape
    positions = [position for position, axis in enumerate(layout) if axis in axes]
    few = [1 if position in positions else size for position, size in enumerate(shape)]
    table = at.integers(positions, "axes")
    mean, rest, squares, variance, above, inverse = (
        at.temporary(sizes, name)
        for sizes, name in (
            (few, "mean"), (shape, "rest"), (shape, "squares"), (few, "variance"), (few, "above"), (few, "inverse")
        )
    )  # fmt: skip
    at.emit("MEAN", [x, table], mean, "ReducerOptions", keepDims=True)
    at.emit("SUB", [x, mean], rest, "SubOptions")
    at.emit("SQUARE", [rest], squares, "SquareOptions")
    at.emit("MEAN", [squares, table], variance, "ReducerOptions", keepDims=True)
    at.emit("ADD", [variance, scalar(at, at.node.float("epsilon", _EPSILON), variance)], above, "AddOptions")
    at.emit("RSQRT", [above], inverse)
    steps = [("MUL", inverse)]
    for op, neutral, array in zip(("MUL", "ADD"), (1, 0), affine, strict=True):
        if array is not None and np.any(array != neutral):
            steps.append((op, _stored(at, array, layout)))
    target = at.output(layout)
    for number, (op, operand) in enumerate(steps, 1):
        result = target if number == len(steps) else at.temporary(shape, f"step_{number}")
        at.emit(op, [rest, operand], result, {"MUL": "MulOptions", "ADD": "AddOptions"}[op])
        rest = result


def _stored(at: Site, array: Array, layout: Layout) -> int:
    whole = array.reshape((1,) * (len(layout) - array.ndim) + array.shape)
    return at.values.constant("affine", whole.astype(np.float32), None, layout)
