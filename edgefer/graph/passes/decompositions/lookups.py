"""Picking and placing by indices that are computed: products with vectors of zeros and a one, which say where."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import helper

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term
from edgefer.graph.patterns import number_of_places

_MOST = 2**20  # numbers in the vectors of a node, beyond which a product with them takes too long
_LARGEST_RANK = 4  # to which an axis may be added
_OFF_AND_ON = np.asarray([0, 1], np.float32)


@decomposes("Gather")
def gather(at: Formula) -> Term | None:
    """A product with a vector for each index."""
    axis = at.node.int("axis") % len(at.input(0).shape)
    if not _is_computed(at) or _is_too_much(at.input(1).shape, at.input(0).shape[axis]):
        return None
    return _picked(at, at.input(0), _vectors(at.input(1), at.input(0).shape[axis]), axis)


@decomposes("GatherElements")
def gather_elements(at: Formula) -> Term | None:
    """A product with a vector for each place along the axis, or with one for each element where those differ."""
    x, made, indices = at.input(0), at.info(at.node.output).shape, _unexpanded(at)
    rank = len(made)
    axis = at.node.int("axis") % rank
    size, own = x.shape[axis], (*(1 for _ in made[len(indices.shape) :]), *indices.shape)
    others_differ = (*x.shape[:axis], *x.shape[axis + 1 :]) != (*made[:axis], *made[axis + 1 :])
    if not _is_computed(at) or others_differ or own[axis] != made[axis] or _is_too_much(own, size):
        return None
    if prod(own) == own[axis]:
        return _picked(at, x, _vectors(indices, size), axis)
    if rank > _LARGEST_RANK or _is_too_much(made, size):
        return None
    vectors = indices.reshaped(*own).to("OneHot", np.asarray(size), _OFF_AND_ON, axis=axis + 1)
    beside = x.reshaped(*made[:axis], 1, size, *made[axis + 1 :])
    return (beside * vectors).over("ReduceSum", axis + 1, keepdims=False)


@decomposes("ScatterElements")
def scatter_elements(at: Formula) -> Term | None:
    """Sums of updates times a vector for each, beside what none is placed on; no two are placed on the same element."""
    x, updates, made = at.input(0), at.input(2), at.info(at.node.output).shape
    rank, known = len(made), at.constant(0)
    axis = at.node.int("axis") % rank
    others_differ = any(a != b for index, (a, b) in enumerate(zip(updates.shape, made, strict=True)) if index != axis)
    is_real = at.info(at.node.output).dtype == np.float32
    if at.constant(1) is not None or not is_real or others_differ or at.node.str("reduction", "none") != "none":
        return None
    if rank > _LARGEST_RANK or _is_too_much(updates.shape, made[axis]):
        return None
    vectors = at.input(1).to("OneHot", np.asarray(made[axis]), _OFF_AND_ON, axis=axis + 1)
    each = updates.reshaped(*updates.shape[: axis + 1], 1, *updates.shape[axis + 1 :])
    placed, taken = (values.over("ReduceSum", axis, keepdims=False) for values in (each * vectors, vectors))
    if known is None or (np.isfinite(known).all() and known.any()):
        return x * (1.0 - taken) + placed
    return placed if np.isfinite(known).all() else taken.to("Greater", 0.5).to("Where", placed, x)


@decomposes("GatherND")
def gather_nd(at: Formula) -> Term | None:
    """A product with vectors over all axes that are indexed; there is but one index of an axis of one element."""
    x, indices, batch = at.input(0), at.input(1), at.node.int("batch_dims")
    last = len(indices.shape) - 1
    sizes = x.shape[batch : batch + indices.shape[last]]
    count, whole = prod(indices.shape[:last]), prod(sizes)
    if not _is_computed(at) or prod(x.shape[:batch]) > 1 or whole == 1 or _is_too_much((count,), whole):
        return None
    vectors: Term | None = None
    for axis, size in enumerate(sizes):
        if size > 1:
            own = _vectors(indices.part(last, axis, axis + 1), size)
            pairs = None if vectors is None else vectors.reshaped(count, -1, 1) * own.reshaped(count, 1, size)
            vectors = own if pairs is None else pairs.reshaped(count, -1)
    assert vectors is not None
    return _picked(at, x.reshaped(whole, -1), vectors, 0)


@decomposes("Mod")
def remainder(at: Formula) -> Term | None:
    """Places along an axis that has no more elements than the divisor, as exporters bring indices into bounds."""
    divisor, places = at.constant(1), number_of_places(at.graph, at.node.inputs[0])
    return at.input(0) if divisor is not None and places and np.all(divisor >= places) else None


@decomposes("OneHot")
def one_hot(at: Formula) -> Term | None:
    """Of integers, those of real numbers that are integers."""
    values = at.constant(2)
    if values is None or values.dtype == np.float32 or not np.array_equal(values.astype(np.float32), values):
        return None
    real = at.input(0).to("OneHot", at.input(1), values.astype(np.float32), axis=at.node.int("axis", -1))
    return real.to("Cast", to=helper.np_dtype_to_tensor_dtype(values.dtype))


@decomposes("Cast")
def cast(at: Formula) -> Term | None:
    """What a OneHot makes, where it became integers, and real numbers again."""
    inner = at.graph.producers.get(at.node.inputs[0])
    first = at.graph.producers.get(inner.inputs[0]) if inner is not None and inner.op == "Cast" else None
    if inner is None or first is None or first.op != "OneHot":
        return None
    values = at.graph.constants.get(first.inputs[2])
    if values is None or at.graph.info[first.output].dtype != at.graph.info[at.node.output].dtype:
        return None
    whole = values.astype(at.graph.info[inner.output].dtype)
    return at.value(first.output) if np.array_equal(whole, values) else None


def _is_computed(at: Formula) -> bool:
    """Whether indices are, of real numbers; infinite ones times zero are none."""
    constant = at.constant(0)
    is_finite = constant is None or bool(np.isfinite(constant).all())
    return at.constant(1) is None and at.info(at.node.inputs[0]).dtype == np.float32 and is_finite


def _is_too_much(indices: tuple[int, ...], size: int) -> bool:
    return prod(indices) * size > _MOST


def _unexpanded(at: Formula) -> Term:
    """The indices before they were repeated along other axes."""
    value = at.node.inputs[1]
    while (node := at.graph.producers.get(value)) is not None and node.op in ("Expand", "Identity"):
        value = node.inputs[0]
    return at.value(value)


def _vectors(indices: Term, size: int) -> Term:
    """For each index a vector, (indices, size)."""
    return indices.reshaped(prod(indices.shape)).to("OneHot", np.asarray(size), _OFF_AND_ON, axis=-1)


def _picked(at: Formula, x: Term, vectors: Term, axis: int) -> Term:
    """The result of the node: parts of `x` along an axis."""
    size, before, after = x.shape[axis], prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    if before > 1 and after == 1:
        found = x.reshaped(before, size).to("MatMul", vectors.transposed(1, 0))
    else:
        found = vectors.to("MatMul", x.reshaped(*((before,) if before > 1 else ()), size, after))
    return found.reshaped(*at.info(at.node.output).shape)
