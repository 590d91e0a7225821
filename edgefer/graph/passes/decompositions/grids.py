"""GridSample in terms of products: of each place sampled, how much each row and each column counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_CUBIC = -0.75  # Keys' coefficient, as PyTorch and ONNX have it


@decomposes("GridSample")
def grid_sample(at: Formula) -> Term | None:
    """A sum over all elements, each times weight(row - place) * weight(column - place).

    Beyond the border that is zero by itself; `border` moves places onto it, `reflection` folds them back.
    """
    x, grid = at.input(0), at.input(1)
    padding = at.node.str("padding_mode", "zeros")
    weight = _WEIGHTS.get(at.node.str("mode", "bilinear"))
    if weight is None or len(x.shape) != 4 or x.shape[0] != 1 or (weight is _cubic and padding != "zeros"):
        return None
    _, channels, height, width = x.shape
    _, rows, columns, _ = grid.shape
    count = rows * columns
    places = grid.reshaped(count, 2)
    aligned = bool(at.node.int("align_corners"))
    across, down = (
        weight(_elements(places.part(1, index, index + 1), size, padding, aligned=aligned), _numbers(size))
        for index, size in enumerate((width, height))
    )
    by_column = x.reshaped(channels * height, width).to("MatMul", across.transposed(1, 0))
    by_row = by_column.reshaped(channels, height, count) * down.transposed(1, 0)
    return by_row.over("ReduceSum", 1, keepdims=False).reshaped(1, channels, rows, columns)


def _elements(places: Term, size: int, padding: str, *, aligned: bool) -> Term:
    """Places from -1 to 1 over the map, (places, 1), in elements."""
    span, shift = (size - 1, 0.0) if aligned else (size, -0.5)
    elements = places * (span / 2) + (span / 2 + shift)
    if padding == "reflection":
        if span == 0:
            return elements * 0.0
        along = elements - shift  # up to the span, and down again
        along = along - (along * (1 / (2 * span))).to("Floor") * (2.0 * span)
        elements = span - (along - float(span)).to("Abs") + shift
    if padding == "zeros":
        return elements
    return elements.to("Max", 0.0).to("Min", float(size - 1))


def _numbers(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.float32)[np.newaxis]


def _linear(elements: Term, numbers: np.ndarray) -> Term:
    """max(1 - |distance|, 0)."""
    return (1.0 - (elements - numbers).to("Abs")).to("Max", 0.0)


def _nearest(elements: Term, numbers: np.ndarray) -> Term:
    """1 for the element that is nearest, halves rounded to even."""
    return _linear(elements.to("Round"), numbers)


def _cubic(elements: Term, numbers: np.ndarray) -> Term:
    """Keys' cubic: one polynomial up to a distance of 1, where it is 0, and another up to 2, where that is."""
    away = (elements - numbers).to("Abs")
    near, far = away.to("Min", 1.0), away.to("Max", 1.0).to("Min", 2.0)
    inner = (near * (_CUBIC + 2) - (_CUBIC + 3)) * near * near + 1.0
    outer = ((far * _CUBIC - 5 * _CUBIC) * far + 8 * _CUBIC) * far - 4 * _CUBIC
    return inner + outer


_WEIGHTS: Mapping[str, Callable[[Term, np.ndarray], Term]] = {
    "bicubic": _cubic,
    "bilinear": _linear,
    "cubic": _cubic,
    "linear": _linear,
    "nearest": _nearest,
}
