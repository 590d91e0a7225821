"""Sampling at computed places: GridSample's newer names, AffineGrid by a product, RoiAlign's old default."""

from __future__ import annotations

from math import prod

import numpy as np

from edgefer.graph.ir import Array
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call

_MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


@restates("GridSample", 20, 22)
def grid_sample(call: Call) -> None:
    """Its modes were called `bilinear` and `bicubic` before."""
    if len(call.shape()) != 4:
        raise call.unsupported("GridSample in three dimensions")
    mode = _MODES.get(call.node.str("mode", "linear"), "")
    if not mode:
        raise call.unsupported(f"GridSample with mode={call.node.str('mode')}")
    call.end("GridSample", *call.node.inputs, mode=mode, **call.attributes("mode"))


@restates("AffineGrid", 20)
def affine_grid(call: Call) -> None:
    """Places of all pixels, between -1 and 1, times the matrix; the last place of the corners is the pixel's centre."""
    sizes = [int(size) for size in call.known(1, "sizes")]
    batch, spatial = sizes[0], sizes[2:]
    call.require_bounded(prod(spatial) * (len(spatial) + 1))
    aligned = call.node.int("align_corners")
    axes = [_places(size, bool(aligned)) for size in spatial]
    places = np.meshgrid(*axes, indexing="ij")[::-1]  # x first
    base = np.stack([*places, np.ones(spatial)], -1).reshape(1, -1, len(spatial) + 1).astype(np.float32)
    turned = call.add("Transpose", call.node.inputs[0], perm=(0, 2, 1))
    grid = call.add("MatMul", call.number("base", base), turned)
    call.end("Reshape", grid, call.number("shape", (batch, *spatial, len(spatial))))


def _places(size: int, aligned: bool) -> Array:
    if aligned:
        return np.linspace(1, -1, size)[::-1]  # a single place is the far end, as in ONNX Runtime
    return (2 * np.arange(size) + 1) / size - 1


@restates("RoiAlign", 10)
def roi_align(call: Call) -> None:
    """Coordinates had no shift by half a pixel before one could choose."""
    call.end("RoiAlign", *call.node.inputs, coordinate_transformation_mode="output_half_pixel", **call.node.attributes)
