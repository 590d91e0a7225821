"""Resize in terms of products and gathering, where LiteRT has no kernel that reads what ONNX reads."""

from __future__ import annotations

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term
from edgefer.graph.placing import Placing, exact_kernel, is_ambiguous, placings


@decomposes("Resize")
def resize(at: Formula) -> Term | None:
    """Along each axis that changes, a product with a matrix (linear, cubic), or elements picked (nearest).

    Raises:
        InputError: ONNX and its runtimes disagree on what it computes.
    """
    axes = placings(at.graph, at.node)
    if is_ambiguous(axes):
        raise InputError(
            f"node {at.node.name!r}: Resize with coordinate_transformation_mode={axes[0].transformation} and scales "
            "that do not divide: ONNX and its runtimes place the elements differently",
            remedy="Export it with sizes: in PyTorch, interpolate(size=...) instead of scale_factor.",
        )
    nearest = at.node.str("mode", "nearest") == "nearest"
    if axes[0].transformation == "tf_crop_and_resize" or exact_kernel(at.graph, at.node) is not None:
        return None
    result = at.input(0)
    for axis, placing in enumerate(axes):
        if nearest:
            result = _picked(result, axis, placing, at.node.str("nearest_mode", "round_prefer_floor"))
        else:
            result = _weighted(result, axis, placing.weights(at.node))
    return result


def _picked(x: Term, axis: int, placing: Placing, rounding: str) -> Term:
    read = placing.nearest(rounding)
    return x if np.array_equal(read, np.arange(placing.size)) else x.to("Gather", read, axis=axis)


def _weighted(x: Term, axis: int, weights: np.ndarray) -> Term:
    if np.array_equal(weights, np.eye(len(weights.T))):
        return x
    matrix, last = weights.T.astype(np.float32), len(x.shape) - 1
    if axis == last:
        return x.to("MatMul", matrix)
    swapped = list(range(last + 1))
    swapped[axis], swapped[last] = last, axis
    return x.transposed(*swapped).to("MatMul", matrix).transposed(*swapped)
