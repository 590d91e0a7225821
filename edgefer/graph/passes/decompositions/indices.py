"""Operators that pick and place elements by constant indices: one Gather from a row of all that there is."""

from __future__ import annotations

from math import prod

import numpy as np

from edgefer.graph.ir import Array
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_COMBINES = {"add": ("Add", 0.0), "mul": ("Mul", 1.0), "max": ("Max", -np.inf), "min": ("Min", np.inf)}
"""What joins an element and an update, and what leaves it as it is."""


@decomposes("Gather")
def gather(at: Formula) -> Term | None:
    """Indices of several axes are one row of them; those of windows that do not overlap are another order of axes."""
    indices, x = at.constant(1), at.input(0)
    if indices is None or indices.ndim < 2:
        return None
    axis = at.node.int("axis") % len(x.shape)
    if indices.ndim == 2 and np.array_equal(indices.T.reshape(-1), np.arange(x.shape[axis])):
        order = [*range(len(x.shape) + 1)]
        order[axis : axis + 2] = [axis + 1, axis]
        apart = x.reshaped(*x.shape[:axis], *indices.T.shape, *x.shape[axis + 1 :])
        return apart.transposed(*order)
    return x.to("Gather", indices.reshape(-1), axis=axis).reshaped(*_made(at))


@decomposes("GatherElements")
def gather_elements(at: Formula) -> Term | None:
    """An index along one axis for each element of the result."""
    indices, x = at.constant(1), at.input(0)
    return None if indices is None else _picked(x, _along(x.shape, indices, at.node.int("axis"))).reshaped(*_made(at))


@decomposes("GatherND")
def gather_nd(at: Formula) -> Term | None:
    """Indices of the first axes, or of those after the batch's, for each part of the result."""
    indices, x = at.constant(1), at.input(0)
    if indices is None:
        return None
    return _picked(x, _of_first_axes(x.shape, indices, at.node.int("batch_dims"))).reshaped(*_made(at))


@decomposes("ScatterElements")
def scatter_elements(at: Formula) -> Term | None:
    """Elements at an index along one axis for each update."""
    indices, x = at.constant(1), at.input(0)
    return None if indices is None else _scattered(at, x, _along(x.shape, indices, at.node.int("axis")), at.input(2))


@decomposes("ScatterND")
def scatter_nd(at: Formula) -> Term | None:
    """Parts at indices of the first axes."""
    indices, x = at.constant(1), at.input(0)
    return None if indices is None else _scattered(at, x, _of_first_axes(x.shape, indices), at.input(2))


@decomposes("ReverseSequence")
def reverse_sequence(at: Formula) -> Term | None:
    """The first few steps of each sequence, in the opposite order."""
    lengths, x = at.constant(1), at.input(0)
    if lengths is None:
        return None
    places = np.moveaxis(
        np.arange(prod(x.shape)).reshape(x.shape),
        (at.node.int("batch_axis", 1), at.node.int("time_axis", 0)),
        (0, 1),
    )
    read = places.copy()
    for row, length in enumerate(lengths.tolist()):
        read[row, :length] = places[row, :length][::-1]
    target = np.empty(prod(x.shape), np.int64)
    target[places.reshape(-1)] = read.reshape(-1)
    return _picked(x, target).reshaped(*x.shape)


@decomposes("MaxUnpool")
def max_unpool(at: Formula) -> Term | None:
    """Each number where it was the largest of its window, zeros elsewhere; the indices count through the map pooled."""
    indices, made = at.constant(1), _made(at)
    if indices is None or at.has_input(2):
        return None
    return _scattered(at, at.term(np.zeros(made, np.float32)), indices, at.input(0))


@decomposes("Col2Im")
def columns_to_image(at: Formula) -> Term | None:
    """Sums of overlapping blocks."""
    image, block = at.constant(1), at.constant(2)
    x, rank = at.input(0), 0 if image is None else len(image)
    if image is None or block is None:
        return None
    strides, gaps = (at.node.ints(key, (1,) * rank) for key in ("strides", "dilations"))
    pads = at.node.ints("pads", (0,) * 2 * rank)
    axes = []
    for axis in range(rank):
        size, reach = int(image[axis]), (int(block[axis]) - 1) * gaps[axis] + 1
        count = (size + pads[axis] + pads[axis + rank] - reach) // strides[axis] + 1
        axes.append(np.arange(int(block[axis]))[:, None] * gaps[axis] + np.arange(count) * strides[axis] - pads[axis])
    rows = prod(x.shape[:2]) // prod(int(taps) for taps in block)
    places, inside = np.zeros((), np.int64), np.ones((), bool)
    for axis, positions in enumerate(axes):  # (taps..., windows...) of all axes
        shape = [1] * 2 * rank
        shape[axis], shape[rank + axis] = positions.shape
        places = places * int(image[axis]) + positions.reshape(shape)
        inside = inside & ((positions >= 0) & (positions < image[axis])).reshape(shape)
    pixels = prod(int(size) for size in image)
    targets = np.where(inside, places, -1).reshape(1, -1) + np.arange(rows)[:, None] * pixels
    targets = np.where(inside.reshape(1, -1), targets, -1)
    return _scattered(at, at.term(np.zeros(_made(at), np.float32)), targets, x, "add")


@decomposes("CenterCropPad")
def centre(at: Formula) -> Term | None:
    """The middle of axes that are too long, with zeros around those that are too short."""
    sizes, x = at.constant(1), at.input(0)
    if sizes is None:
        return None
    rank = len(x.shape)
    pads = np.zeros((2, rank), np.int64)
    for axis, size in zip(at.node.ints("axes", tuple(range(rank))), sizes.tolist(), strict=True):
        have = x.shape[axis % rank]
        if size < have:
            x = x.part(axis % rank, (have - size) // 2, (have - size) // 2 + size)
        pads[:, axis % rank] = max(size - have, 0) // 2, -(-max(size - have, 0) // 2)
    return x.to("Pad", pads.reshape(-1)) if pads.any() else x


def _made(at: Formula) -> tuple[int, ...]:
    return at.info(at.node.output).shape


def _along(shape: tuple[int, ...], indices: Array, axis: int) -> Array:
    """Places, in the row of all elements, of those at `indices` along an axis and at their own place along others."""
    grid: list[Array] = list(np.indices(indices.shape))
    grid[axis % len(shape)] = indices % shape[axis % len(shape)]
    return np.asarray(np.ravel_multi_index(tuple(grid), shape))


def _of_first_axes(shape: tuple[int, ...], indices: Array, batch: int = 0) -> Array:
    """Places of all elements of the parts that indices of the first axes name, behind as many as indices share."""
    count = batch + indices.shape[-1]
    own = np.indices(indices.shape[:-1])[:batch]
    firsts = (*own, *(indices[..., axis - batch] % shape[axis] for axis in range(batch, count)))
    size = prod(shape[count:])
    first = np.asarray(np.ravel_multi_index(firsts, shape[:count])) if count else np.zeros(indices.shape[:-1], np.int64)
    return first.reshape(-1, 1) * size + np.arange(size)


def _picked(x: Term, places: Array) -> Term:
    return x.reshaped(prod(x.shape)).to("Gather", places.reshape(-1).astype(np.int64), axis=0)


def _scattered(at: Formula, x: Term, targets: Array, updates: Term, reduction: str = "") -> Term | None:
    """`x` with updates at places (as many as updates, -1 for nowhere), one after the other where several meet."""
    reduction = reduction or at.node.str("reduction", "none")
    size, flat = prod(x.shape), targets.reshape(-1).tolist()
    rounds: list[Array] = []
    counts = np.zeros(size, np.int64)
    for update, place in enumerate(flat):
        if place < 0:
            continue
        index = 0 if reduction == "none" else int(counts[place])
        if index == len(rounds):
            rounds.append(np.full(size, -1, np.int64))
        rounds[index][place] = update
        counts[place] += 1
    row, made = x.reshaped(size), updates.reshaped(len(flat))
    if reduction == "none":
        for chosen in rounds:
            (all_there_is,) = at.apply("Concat", [row, made], {"axis": 0})
            row = all_there_is.to("Gather", np.where(chosen < 0, np.arange(size), size + chosen), axis=0)
        return row.reshaped(*x.shape)
    op, neutral = _COMBINES[reduction]
    for chosen in rounds:
        (with_neutral,) = at.apply("Concat", [made, np.full(1, neutral, np.float32)], {"axis": 0})
        row = row.to(op, with_neutral.to("Gather", np.where(chosen < 0, len(flat), chosen), axis=0))
    return row.reshaped(*x.shape)
