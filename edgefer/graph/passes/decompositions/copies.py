"""Operators that repeat or move elements."""

from __future__ import annotations

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term


@decomposes("Tile")
def tile(at: Formula) -> Term | None:
    """Axes that are repeated get one before them, along which the whole is expanded."""
    repeats = at.constant(1)
    if repeats is None:
        return None
    x = at.input(0)
    split: list[int] = []
    wanted: list[int] = []
    for size, count in zip(x.shape, repeats.tolist(), strict=True):
        split += [1, size] if 1 not in (count, size) else [size]
        wanted += [count, size] if 1 not in (count, size) else [count * size]
    return x.reshaped(*split).to("Expand", at.integers(*wanted)).reshaped(*at.info(at.node.output).shape)
