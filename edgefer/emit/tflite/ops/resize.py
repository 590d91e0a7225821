"""Resize: TFLite's three ways of placing samples, chosen by comparing where each would read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC
from edgefer.emit.tflite.site import Site
from edgefer.graph.ir import Array

_VARIANTS: tuple[dict[str, bool], ...] = ({}, {"halfPixelCenters": True}, {"alignCorners": True})
_ROUNDING: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@emits("Resize", keeps_params=True)
def resize(at: Site) -> None:
    """Nearest and linear interpolation over height and width, where TFLite reads exactly what ONNX reads."""
    at.require_rank(4)
    mode = at.node.str("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise at.unsupported(f"mode={mode}")
    if at.node.int("antialias") or "axes" in at.node.attributes or at.shape()[:2] != at.output_shape[:2]:
        raise at.unsupported("antialias, axes, or a scale on batch or channels")
    wanted = [_onnx_positions(at, axis, mode) for axis in (2, 3)]
    for variant in _VARIANTS:
        placed = [_tflite_positions(at, axis, mode, variant) for axis in (2, 3)]
        if all(np.allclose(a, b, rtol=0, atol=1e-4) for a, b in zip(wanted, placed, strict=True)):
            op, options = (
                ("RESIZE_BILINEAR", "ResizeBilinearOptions")
                if mode == "linear"
                else ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
            )
            size = at.integers(at.output_shape[2:], "size")
            at.emit(op, [at.input(0, NHWC), size], at.output(NHWC), options, **variant)
            return
    transformation = at.node.str("coordinate_transformation_mode", "half_pixel")
    raise at.unsupported(f"mode={mode}, coordinate_transformation_mode={transformation} at this size")


def _onnx_positions(at: Site, axis: int, mode: str) -> Array:
    """Where ONNX reads along `axis`, in input elements: whole numbers for nearest."""
    size, outputs = at.shape()[axis], at.output_shape[axis]
    scales = at.constant(2)
    scale = float(scales[axis]) if scales is not None and scales.size else outputs / size
    x = np.arange(outputs, dtype=np.float64)
    transformation = at.node.str("coordinate_transformation_mode", "half_pixel")
    if transformation == "align_corners":
        positions = x * (size - 1) / max(outputs - 1, 1)
    elif transformation == "asymmetric":
        positions = x / scale
    elif transformation == "half_pixel" or (transformation == "pytorch_half_pixel" and outputs > 1):
        positions = (x + 0.5) / scale - 0.5
    elif transformation == "pytorch_half_pixel":
        positions = x * 0
    else:
        raise at.unsupported(f"coordinate_transformation_mode={transformation}")
    if mode == "nearest":
        positions = _ROUNDING[at.node.str("nearest_mode", "round_prefer_floor")](positions)
    return np.asarray(np.clip(positions, 0, size - 1))


def _tflite_positions(at: Site, axis: int, mode: str, variant: Mapping[str, bool]) -> Array:
    """Where TFLite reads along `axis`, in its own float32 arithmetic."""
    size, outputs = at.shape()[axis], at.output_shape[axis]
    aligned, centred = variant.get("alignCorners", False), variant.get("halfPixelCenters", False)
    half = np.float32(0.5)
    scale = np.float32((size - 1) / (outputs - 1) if aligned and outputs > 1 else size / outputs)
    x = np.arange(outputs, dtype=np.float32)
    positions = (x + half) * scale if centred else x * scale
    if mode == "nearest":
        positions = np.floor(positions + half) if aligned else np.floor(positions)
    elif centred:
        positions = positions - half
    return np.asarray(np.clip(positions, 0, size - 1))
