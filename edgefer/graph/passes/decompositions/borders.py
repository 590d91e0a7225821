"""Pad in terms of parts joined: what LiteRT has no kernel for, or a slow one."""

from __future__ import annotations

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_FEW = 4  # rows that are mirrored one by one


@decomposes("Pad")
def pad(at: Formula) -> Term | None:
    """Edges and a few mirrored rows are cut out and joined on."""
    amounts, x = at.constant(1), at.input(0)
    rows = {"edge": _edges, "reflect": _mirrored}.get(at.node.str("mode", "constant"))
    if (
        rows is None
        or amounts is None
        or at.has_input(3)
        or amounts.min() < 0
        or (rows is _mirrored and amounts.max() > _FEW)
    ):
        return None
    rank = len(x.shape)
    for axis in range(rank):
        before, after = rows(x.shape[axis], int(amounts[axis]), int(amounts[rank + axis]))
        if before or after:
            first, last = ([x.part(axis, row, row + 1) for row in side] for side in (before, after))
            (x,) = at.apply("Concat", [*first, x, *last], {"axis": axis})
    return x


def _edges(size: int, before: int, after: int) -> tuple[list[int], list[int]]:
    return [0] * before, [size - 1] * after


def _mirrored(size: int, before: int, after: int) -> tuple[list[int], list[int]]:
    return list(range(before, 0, -1)), list(range(size - 2, size - 2 - after, -1))
