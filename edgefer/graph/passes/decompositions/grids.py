"""GridSample in terms of products: of each place sampled, how near it is to each row and to each column."""

from __future__ import annotations

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term


@decomposes("GridSample")
def grid_sample(at: Formula) -> Term | None:
    """Linear interpolation: x * hat(row - place) * hat(column - place) over all, where hat(t) = max(1 - |t|, 0).

    Beyond the border that is zero by itself; `border` moves places onto it.
    """
    x, grid = at.input(0), at.input(1)
    border = at.node.str("padding_mode", "zeros") == "border"
    mode, is_known = at.node.str("mode", "bilinear"), at.node.str("padding_mode", "zeros") in ("zeros", "border")
    if mode not in ("bilinear", "linear") or not is_known or len(x.shape) != 4 or x.shape[0] != 1:
        return None
    _, channels, height, width = x.shape
    _, rows, columns, _ = grid.shape
    count = rows * columns
    places = grid.reshaped(count, 2)
    across, down = (
        _nearness(places.part(1, index, index + 1), size, border=border, aligned=bool(at.node.int("align_corners")))
        for index, size in enumerate((width, height))
    )
    by_column = x.reshaped(channels * height, width).to("MatMul", across.transposed(1, 0))
    by_row = by_column.reshaped(channels, height, count) * down.transposed(1, 0)
    return by_row.over("ReduceSum", 1, keepdims=False).reshaped(1, channels, rows, columns)


def _nearness(places: Term, size: int, *, border: bool, aligned: bool) -> Term:
    """(places, size): 1 where a place, from -1 to 1 over the map, is an element's, less towards its neighbours."""
    span, shift = (size - 1, 0.0) if aligned else (size, -0.5)
    elements = places * (span / 2) + (span / 2 + shift)
    if border:
        elements = elements.to("Max", 0.0).to("Min", float(size - 1))
    away = (elements - np.arange(size, dtype=np.float32)[np.newaxis]).to("Abs")
    return (1.0 - away).to("Max", 0.0)
