"""Channels guessed from other channels, linearly, as calibration images have them.

What layers read is sampled at some positions of each image; with X the samples less their mean, of channels g that are
gone and k that are kept, the best linear guess is x_g = P x_k + c with P = X_g X_k' (X_k X_k')^-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph
from edgefer.quantize.observe.per_image import observe, spread
from edgefer.quantize.scales.ranges import Values

_SIDE = 2  # at most so many rows and columns of a map are looked at
_DAMPING = 0.05  # of the mean variance of channels, added to that of each: covariances are of few samples


def channel_samples(graph: Graph, values: Sequence[str], feeds: Sequence[Feed]) -> Mapping[str, Array]:
    """Values by name: float16 (channels, samples), at some positions of each image; channels lie along axis 1."""
    names = list(dict.fromkeys(values))

    def some(observed: list[Array], images: int) -> list[Array]:
        positions = [tuple(spread(size, _SIDE) for size in array.shape[2:]) for array in observed]
        picked = [array[(slice(None), slice(None), *where)] for array, where in zip(observed, positions, strict=True)]
        return [_halves(np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)) for array in picked]

    parts = dict(zip(names, zip(*observe(graph, names, feeds, some), strict=True), strict=True))
    return {value: np.concatenate(parts.pop(value), axis=1) for value in names}  # one after the other: they are large


def _halves(numbers: Array) -> Array:
    """As float16, which is fine enough for covariances, and takes half the memory; what is too large as its largest."""
    largest = np.finfo(np.float16).max
    return np.clip(numbers, -largest, largest).astype(np.float16)


def shares(samples: Array, weights: Array, axis: int) -> Values:
    """What each channel that a layer reads adds to the variance of its output, of all that they add.

    Args:
        samples: of what it reads, (channels, samples).
        weights: of the layer.
        axis: that those channels lie along.
    """
    others = tuple(other for other in range(weights.ndim) if other != axis)
    squares = np.square(weights.astype(np.float64)).sum(axis=others)
    added: Values = samples.var(axis=1, dtype=np.float64) * squares
    return added / max(float(added.sum()), 1e-30)


def refitted(samples: Array, weights: Array, axis: int, kept: Array, gone: Array) -> tuple[Array, Values]:
    """Weights that guess channels that are gone from those kept, and what that adds to each output's bias.

    Args:
        samples: of what the layer reads, (channels, samples).
        weights: of the layer; where channels are gone, what is returned means nothing.
        axis: that those channels lie along.
        kept: channels.
        gone: all others.
    """
    last = np.moveaxis(weights, axis, -1).astype(np.float64)
    found, shifts = _guessed(samples, last[..., gone].reshape(-1, len(gone)), kept, gone)
    last[..., kept] += found.reshape(*last.shape[:-1], len(kept))
    fitted = np.ascontiguousarray(np.moveaxis(last, -1, axis)).astype(weights.dtype)
    return fitted, shifts.reshape(len(last), -1).sum(axis=1)


def _guessed(samples: Array, rows: Values, kept: Array, gone: Array) -> tuple[Values, Values]:
    """Weights (rows, kept) and constants (rows,) that do what `rows` (rows, gone) did with channels that are gone.

    With X the samples less their mean, W_g P = W_g X_g X_k' (X_k X_k' + d)^-1 = W_g X_g (X_k' X_k + d)^-1 X_k': what is
    inverted is as large as there are channels or samples, whichever are fewer.
    """
    mean = samples.mean(axis=1, dtype=np.float64)
    centred = samples - mean[:, np.newaxis]
    left, made = centred[kept], rows @ centred[gone]
    damping = _DAMPING * np.square(centred).sum() / len(samples) + 1e-12
    if left.shape[0] <= left.shape[1]:
        found: Values = np.linalg.solve(_damped(left @ left.T, damping), left @ made.T).T
    else:
        found = np.linalg.solve(_damped(left.T @ left, damping), made.T).T @ left.T
    return found, rows @ mean[gone] - found @ mean[kept]


def _damped(matrix: Values, damping: float) -> Values:
    np.einsum("nn->n", matrix)[:] += damping
    return matrix
