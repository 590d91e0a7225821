"""GridSample by cubics near the border, whose four elements along an axis may lie beyond it."""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_REACH = 2  # elements on either side of a place that count


@decomposes("GridSample")
def beyond_the_border(at: Formula) -> Term | None:
    """The same of a map that has, beyond its border, the elements that `padding_mode` names.

    Places farther out are moved first to where the same elements are read.
    """
    x, grid, padding = at.input(0), at.input(1), at.node.str("padding_mode", "zeros")
    is_cubic = at.node.str("mode", "bilinear") in ("bicubic", "cubic")
    if not is_cubic or padding == "zeros" or len(x.shape) != 4 or x.shape[0] != 1:
        return None
    aligned = bool(at.node.int("align_corners"))
    places = []
    for index, axis in enumerate((3, 2)):
        size = x.shape[axis]
        elements = _elements(grid.part(3, index, index + 1), size, padding, aligned=aligned)
        places.append((elements + float(_REACH)) * (2 / (size + 2 * _REACH - 1)) - 1.0)
        x = x.to("Gather", _read(size, padding, aligned=aligned), axis=axis)
    (moved,) = at.apply("Concat", places, {"axis": 3})
    return x.to("GridSample", moved, **{**at.node.attributes, "padding_mode": "zeros", "align_corners": 1})


def _elements(places: Term, size: int, padding: str, *, aligned: bool) -> Term:
    """Places from -1 to 1 over the map in elements, at most one beyond it."""
    span, first = (size - 1, 0.0) if aligned else (size, -0.5)
    elements = places * (span / 2) + (span / 2 + first)
    if padding == "border":
        return elements.to("Max", -1.0).to("Min", float(size))
    if span == 0:
        return elements * 0.0
    along = elements - first  # up to the span, and down again
    along = along - (along * (1 / (2 * span))).to("Floor") * (2.0 * span)
    return span - (along - float(span)).to("Abs") + first


def _read(size: int, padding: str, *, aligned: bool) -> Array:
    """Which elements the map has with what is beyond its border."""
    wanted = np.arange(-_REACH, size + _REACH)
    if padding == "border":
        return wanted.clip(0, size - 1)
    period = max(2 * (size - 1 if aligned else size), 1)
    along = wanted % period
    return np.where(along < size, along, period - along - (0 if aligned else 1))
