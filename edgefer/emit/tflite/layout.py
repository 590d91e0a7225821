"""Layouts: in which order a stored tensor holds the axes of an ONNX value.

A layout is a permutation: axis `i` of the stored tensor is axis `layout[i]` of the value.  Images live as NHWC,
which is what the kernels want; everything else is stored as ONNX has it until someone asks otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Layout: TypeAlias = tuple[int, ...]

NHWC: Layout = (0, 2, 3, 1)


def identity(rank: int) -> Layout:
    """ONNX's own order."""
    return tuple(range(rank))


def default(rank: int) -> Layout:
    """The order that kernels want for a value of this rank."""
    return NHWC if rank == 4 else identity(rank)


def permuted(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """The stored shape of a value of `shape`."""
    return tuple(shape[axis] for axis in layout)


def between(have: Layout, want: Layout) -> Layout:
    """The permutation that a TRANSPOSE must apply to a tensor stored as `have` to store it as `want`."""
    return tuple(have.index(axis) for axis in want)


def after_transpose(layout: Layout, perm: Sequence[int]) -> Layout:
    """How the tensor of a value, untouched, stores the ONNX Transpose of that value by `perm`."""
    return tuple(list(perm).index(axis) for axis in layout)


def with_leading_axes(layout: Layout, rank: int) -> Layout:
    """The layout of a value that gained unit axes in front, up to `rank`."""
    added = rank - len(layout)
    return (*range(added), *(axis + added for axis in layout))


def same_order(shape: Sequence[int], one: Layout, other: Layout) -> bool:
    """Whether both layouts put the elements of a value of `shape` in the same order in memory."""
    return [axis for axis in one if shape[axis] != 1] == [axis for axis in other if shape[axis] != 1]


def after_reshape(layout: Layout, shape: Sequence[int], wanted: Sequence[int]) -> Layout | None:
    """How the tensor of a value of `shape`, untouched, stores the value reshaped to `wanted`.

    That is possible where axes that are joined, or cut into others, are stored side by side; else None.
    """
    parts: list[tuple[int, ...]] = []
    for old, new in _groups(shape, wanted):
        stored = [axis for axis in layout if axis in old and shape[axis] != 1]
        positions = [index for index, axis in enumerate(a for a in layout if shape[a] != 1) if axis in stored]
        if stored != sorted(stored) or positions != list(range(positions[0], positions[0] + len(stored))):
            return None
        parts.append((positions[0], *new))
    placed = [axis for _, *axes in sorted(parts) for axis in axes]
    units = [axis for axis in range(len(wanted)) if axis not in placed]
    return tuple(units + placed)


def _groups(shape: Sequence[int], wanted: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Axes of `shape`, and those of `wanted` that they become, without axes of one element."""
    old = [axis for axis, size in enumerate(shape) if size != 1]
    new = [axis for axis, size in enumerate(wanted) if size != 1]
    groups = []
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        a, b = shape[left[0]], wanted[right[0]]
        while a != b:
            if a < b:
                left.append(old.pop(0))
                a *= shape[left[-1]]
            else:
                right.append(new.pop(0))
                b *= wanted[right[-1]]
        groups.append((left, right))
    return groups
