"""Weights rounded so that the outputs of their layer change least, not the weights themselves.

Of a layer y = W x with stored weights W', the noise of an output is d C d', where d is its row of W' - W and C the
covariance of x over calibration images: a shift of the mean is taken away with the bias.  Weights are rounded one
after the other, each to the integer nearest to w + sum(e u), where e is what those before it are off by, and u are
their factors in C = U D U' (Chee et al., QuIP, 2023, arXiv:2307.13304, section 3; the same as GPTQ).
"""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgefer.graph.ir import Array, Graph, Node
from edgefer.plan import QuantParams
from edgefer.quantize.observe.per_image import some_rows, spread
from edgefer.quantize.scales.ranges import Values

_SIDE = 4  # at most so many rows and columns of a layer's output are looked at
_ROWS = 64  # likewise, where a Gemm makes several for an image
_AT_ONCE = 1 << 18  # numbers that are multiplied together
_DAMPING = 0.01  # of the mean variance of inputs, added to that of each: covariances are of samples
_SETTLED = 0.25  # of a step: how far a weight may lie from its integer
_WIDEST = 1280  # inputs whose covariances are known; of more, in parts, as memory and time grow with the square
_TOGETHER = 1 << 18  # numbers in covariances that are worked on at once
_BLOCK = 64  # weights whose errors are made up for together in all that follow


def _size(graph: Graph, node: Node) -> int:
    """Weights that each output of a layer has."""
    weights = graph.shape(node.inputs[1])
    return weights[0 if node.op == "Gemm" and not node.int("transB") else 1] * prod(weights[2:])


class Inputs:
    """What a layer computes its outputs from, as covariances over images.

    Attributes:
        groups: of channels.
        parts: of each group's inputs; those of different parts are taken for independent.
        size: inputs of a part.
    """

    def __init__(self, graph: Graph, node: Node) -> None:
        """Nothing is seen yet.

        Args:
            graph: has the layer.
            node: a Conv of maps, or a Gemm.
        """
        self._node = node
        self._kernel = graph.shape(node.inputs[1])[2:]
        self._positions = [spread(size, _SIDE) for size in graph.shape(node.output)[2:]]
        self._rows = graph.shape(node.output)[0]
        self._seen: list[Array] = []
        self._count = 0
        self._origin: Array = np.zeros((), np.float32)
        self.groups = node.int("group", 1)
        inputs = _size(graph, node)
        self.parts = next(count for count in range(-(-inputs // _WIDEST), inputs + 1) if inputs % count == 0)
        self.size = inputs // self.parts
        self._sum: Values = np.zeros((self.groups * self.parts, self.size))
        self._products: Array = np.zeros((self.groups * self.parts, self.size, self.size), np.float32)

    def patches(self, x: Array) -> Array:
        """What some outputs are made from, for one image or several: (groups, inputs, images * positions)."""
        if not self._positions:
            return some_rows(x, len(x) // self._rows, _ROWS).T[np.newaxis]
        node = self._node
        top, left, bottom, right = node.ints("pads", (0, 0, 0, 0))
        (down, across), (below, beside) = (node.ints(name, (1, 1)) for name in ("strides", "dilations"))
        reach = [(taps - 1) * step + 1 for taps, step in zip(self._kernel, (below, beside), strict=True)]
        if any((top, left, bottom, right)):
            x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = sliding_window_view(x, reach, axis=(2, 3))[:, :, ::down, ::across, ::below, ::beside]
        rows, columns = self._positions
        some = windows[:, :, rows, columns].transpose(0, 2, 3, 1, 4, 5).copy()  # not a view, which would keep all of x
        return some.reshape(-1, self.groups, self.parts * self.size).transpose(1, 2, 0)

    def add(self, patches: Array) -> None:
        """Count some."""
        self._seen.append(patches)
        if sum(each.size for each in self._seen) >= _AT_ONCE:
            self._multiply()

    def covariances(self, some: slice) -> Values:
        """Over all that was counted, of some parts: float64 (parts, inputs, inputs), positive definite."""
        if self._seen:
            self._multiply()
        mean = self._sum[some] / self._count
        found = self._products[some] / np.float64(self._count)
        found -= mean[:, :, np.newaxis] * mean[:, np.newaxis, :]
        variance = np.einsum("gkk->gk", found)
        variance += _DAMPING * variance.mean(axis=1, keepdims=True) + 1e-12
        return found

    def _multiply(self) -> None:
        seen = np.concatenate(self._seen, axis=2).reshape(*self._sum.shape, -1)
        self._seen = []
        if not self._count:
            self._origin = seen.mean(axis=2, keepdims=True)
        seen -= self._origin  # else float32 would lose what varies little
        self._count += seen.shape[2]
        self._sum += seen.sum(axis=2, dtype=np.float64)
        self._products += seen @ seen.transpose(0, 2, 1)


def rounded(weights: Array, params: QuantParams, *inputs: Inputs) -> Array:
    """A layer's weights, float32, whose nearest integers by `params` change its outputs least.

    They stay on the side that they were on, but not near another integer: the first steps of learning, which move all
    weights a little, would undo what was found, while those that last can still take back what is wrong.

    Args:
        weights: of a Conv or Gemm.
        params: symmetric, a scale for each output channel.
        inputs: of that layer; of each, where several read these weights.
    """
    assert params.axis is not None
    channels = np.moveaxis(weights, params.axis, 0)
    groups, parts, size = inputs[0].groups, inputs[0].parts, inputs[0].size
    scale = np.asarray(params.scale).reshape(groups, 1, -1, 1)
    rows = channels.reshape(groups, -1, parts, size).swapaxes(1, 2)
    found = np.empty(rows.shape, np.float32)
    at_once = max(_TOGETHER // size**2, 1)
    for first in range(0, groups * parts, at_once):
        some = np.unravel_index(range(first, min(first + at_once, groups * parts)), (groups, parts))
        scales = scale[some[0], 0]
        steps = rows[some] / scales
        these = slice(first, first + at_once)
        integers = _rounded(steps, reduce(np.add, (each.covariances(these) for each in inputs)), params.limits)
        found[some] = np.clip(steps, integers - _SETTLED, integers + _SETTLED) * scales
    return np.ascontiguousarray(np.moveaxis(found.swapaxes(1, 2).reshape(channels.shape), 0, params.axis))


def _rounded(rows: Values, covariance: Values, limits: tuple[int, int]) -> Values:
    """Integers for `rows` (groups, outputs, inputs), those of the loudest inputs first."""
    order = np.argsort(-np.einsum("gkk->gk", covariance), axis=1, kind="stable")
    rows = np.take_along_axis(rows, order[:, np.newaxis, :], axis=2)
    groups = np.arange(len(order))[:, np.newaxis, np.newaxis]
    covariance = covariance[groups, order[:, ::-1, np.newaxis], order[:, np.newaxis, ::-1]]
    feedback = np.linalg.cholesky(covariance)[:, ::-1, ::-1]  # U in C = U D U', by columns
    feedback /= np.einsum("gkk->gk", feedback)[:, np.newaxis, :].copy()
    del covariance
    errors, (low, high) = np.zeros_like(rows), limits
    for start in range(0, rows.shape[2], _BLOCK):
        end = min(start + _BLOCK, rows.shape[2])
        wanted = rows[..., start:end] + errors[..., :start] @ feedback[:, :start, start:end]
        for index in range(start, end):
            fed_back = errors[..., start:index] @ feedback[:, start:index, index, np.newaxis]
            integers = np.minimum(np.maximum(np.rint(wanted[..., index - start] + fed_back[..., 0]), low), high)
            errors[..., index] = rows[..., index] - integers
    found = np.empty_like(rows)
    np.put_along_axis(found, order[:, np.newaxis, :], np.rint(rows - errors), axis=2)
    return found
