"""Where a Resize reads, and how much of each element: ONNX's definitions an axis at a time, and LiteRT's kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.graph.ir import Graph, Node

Reals = npt.NDArray[np.floating[Any]]

LONGEST = 4096  # pixels of a side: what is resized further is hostile or misread

_ROUNDING: dict[str, Callable[[Reals], Reals]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Placing:
    """One axis of a Resize.

    Attributes:
        size: elements of the input.
        outputs: elements of the output.
        scale: by which positions are told, which need not be their ratio.
        transformation: `coordinate_transformation_mode`.
    """

    size: int
    outputs: int
    scale: float
    transformation: str

    @property
    def divides(self) -> bool:
        """Whether size times scale is a whole number of elements."""
        return abs(self.size * self.scale - self.outputs) < 1e-3

    @property
    def positions(self) -> Reals:
        """Where each output element lies, in input elements, outside the input too; in float32, as runtimes tell ties.

        Raises:
            ValueError: the transformation is not one of an axis alone.
        """
        x, scale, half = np.arange(self.outputs, dtype=np.float32), np.float32(self.scale), np.float32(0.5)
        centred = (x + half) / scale - half
        if self.transformation == "align_corners":
            return x * np.float32(self.size - 1) / np.float32(max(self.outputs - 1, 1))
        if self.transformation == "asymmetric":
            return x * np.float32(1 / self.scale)
        if self.transformation == "half_pixel":
            return centred
        if self.transformation == "pytorch_half_pixel":
            return centred if self.outputs > 1 else x * 0
        raise ValueError(self.transformation)

    def nearest(self, rounding: str) -> npt.NDArray[np.int64]:
        """The element that each output element is, by `nearest_mode`."""
        return np.clip(_ROUNDING[rounding](self.positions), 0, self.size - 1).astype(np.int64)

    def weights(self, node: Node) -> Reals:
        """How much of each input element is in each output element, (outputs, size), for linear and cubic modes."""
        linear = node.str("mode") == "linear"
        stretch = min(self.scale, 1.0) if node.int("antialias") else 1.0
        reach = (1 if linear else 2) / stretch
        excluded = bool(node.int("exclude_outside"))
        found = np.zeros((self.outputs, self.size))
        for output, position in enumerate(self.positions):
            taps = np.arange(np.floor(position - reach), np.ceil(position + reach) + 1)
            away = np.abs(taps - position) * stretch
            shares = _triangle(away) if linear else _cubic(away, node.float("cubic_coeff_a", -0.75))
            if excluded:
                shares = np.where((taps >= 0) & (taps < self.size), shares, 0)
            np.add.at(found[output], np.clip(taps, 0, self.size - 1).astype(np.intp), shares / shares.sum())
        return found


def placings(graph: Graph, node: Node) -> list[Placing]:
    """What a Resize of all axes does along each axis of its input.

    Raises:
        InputError: an axis is longer than those of images are.
    """
    shape, outputs = graph.shape(node.inputs[0]), graph.shape(node.output)
    if any(made != size and max(made, size) > LONGEST for size, made in zip(shape, outputs, strict=True)):
        raise InputError(
            f"node {node.name!r} (Resize) makes {list(outputs)} of {list(shape)}: no axis of an image is as long",
            remedy=f"Bring a network that resizes to at most {LONGEST:,} pixels.",
        )
    stated = graph.constants.get(node.input(2))
    if stated is not None and stated.size:
        scales = [float(scale) for scale in stated]
    else:
        scales = [made / size for size, made in zip(shape, outputs, strict=True)]
    transformation = node.str("coordinate_transformation_mode", "half_pixel")
    return [Placing(*axis, transformation) for axis in zip(shape, outputs, scales, strict=True)]


def is_ambiguous(axes: Sequence[Placing]) -> bool:
    """Whether ONNX and its runtimes place elements differently, where scales do not divide.

    Where corners are aligned, ONNX measures the output as size times scale, runtimes by the elements it has; and
    ONNX Runtime hands on what keeps its shape, whatever the scale.
    """
    if all(axis.divides for axis in axes):
        return False
    return axes[0].transformation == "align_corners" or all(axis.size == axis.outputs for axis in axes)


@dataclass(frozen=True)
class Kernel:
    """A way in which LiteRT places elements, in float32: from the first, by their centres or by the corners."""

    centred: bool = False
    aligned: bool = False

    def positions(self, size: int, outputs: int, mode: str) -> npt.NDArray[np.float32]:
        """Where it reads along an axis: whole numbers for nearest."""
        half = np.float32(0.5)
        scale = np.float32((size - 1) / (outputs - 1) if self.aligned and outputs > 1 else size / outputs)
        x = np.arange(outputs, dtype=np.float32)
        positions = (x + half) * scale if self.centred else x * scale
        if mode == "nearest":
            positions = np.floor(positions + half) if self.aligned else np.floor(positions)
        elif self.centred:
            positions = positions - half
        return np.asarray(np.clip(positions, 0, size - 1))


def exact_kernel(graph: Graph, node: Node) -> Kernel | None:
    """The kernel that reads what a Resize of height and width reads; None where there is none."""
    mode = node.str("mode", "nearest")
    axes = placings(graph, node)
    if (
        mode == "cubic"
        or node.int("antialias")
        or len(axes) != 4
        or any(axis.size != axis.outputs for axis in axes[:2])
    ):
        return None
    try:
        wanted = [_read(axis, node) for axis in axes[2:]]
    except ValueError:
        return None
    for kernel in (Kernel(), Kernel(centred=True), Kernel(aligned=True)):
        placed = [kernel.positions(axis.size, axis.outputs, mode) for axis in axes[2:]]
        if all(np.allclose(a, b, rtol=0, atol=1e-4) for a, b in zip(wanted, placed, strict=True)):
            return kernel
    return None


def _read(axis: Placing, node: Node) -> npt.NDArray[Any]:
    if node.str("mode", "nearest") == "nearest":
        return axis.nearest(node.str("nearest_mode", "round_prefer_floor"))
    return np.clip(axis.positions, 0, axis.size - 1)


def _triangle(away: Reals) -> Reals:
    return np.maximum(1 - away, 0)


def _cubic(away: Reals, a: float) -> Reals:
    """Keys' kernel."""
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = a * (((away - 5) * away + 8) * away - 4)
    return np.where(away <= 1, near, np.where(away < 2, far, 0))
