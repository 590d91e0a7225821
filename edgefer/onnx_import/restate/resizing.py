"""Resize and Upsample of all opsets, with ONNX Runtime's meaning where the standard left it open.

Until opset 10 samples lie at `x / scale`.  Nearest then takes the whole number below where an axis grows and the one
above where it shrinks, as ONNX Runtime does; the two round alike where a scale is one over a whole number.
"""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array, Attribute
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call

_CROP = "tf_crop_and_resize"
_FOR_NN = {"floor": "round_prefer_ceil", "round_prefer_floor": "ceil"}


@restates("Upsample", 1)
def upsample_by_two_factors(call: Call) -> None:
    """Factors of height and width."""
    _asymmetric(call, np.asarray([1, 1, call.node.float("height_scale"), call.node.float("width_scale")], np.float32))


@restates("Upsample", 7)
def upsample_by_attribute(call: Call) -> None:
    """Scales were an attribute."""
    scales = call.node.attributes.get("scales")
    if not isinstance(scales, tuple):
        raise call.unsupported("Upsample without scales")
    _asymmetric(call, np.asarray(scales, np.float32))


@restates("Upsample", 9)
@restates("Resize", 10)
def resize_asymmetric(call: Call) -> None:
    """Before samples could be placed otherwise."""
    _asymmetric(call, np.asarray(call.known(1, "scales"), np.float32))


def _asymmetric(call: Call, scales: Array) -> None:
    x, mode = call.node.inputs[0], call.node.str("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise call.unsupported(f"{call.node.op} with mode={mode}")
    how: dict[str, Attribute] = {"coordinate_transformation_mode": "asymmetric"}
    if mode != "nearest":
        call.end("Resize", x, "", call.number("scales", scales), mode="linear", **how)
        return
    rounds_up = (scales < 1) & (1 / scales != np.round(1 / scales))
    if rounds_up.any() and not rounds_up.all() and (scales[~rounds_up] != 1).any():
        grown = call.number("growing", np.where(rounds_up, 1, scales).astype(np.float32))
        x = call.add("Resize", x, "", grown, mode="nearest", nearest_mode="floor", **how)
        scales = np.where(rounds_up, scales, 1).astype(np.float32)
    rounding = "ceil" if rounds_up.any() else "floor"
    call.end("Resize", x, "", call.number("scales", scales), mode="nearest", nearest_mode=rounding, **how)


@restates("Resize", 11, 13, 18, 19)
def resize(call: Call) -> None:
    """Of all axes, to sizes that are stated, in a way of placing samples that all opsets have."""
    placing = call.node.str("coordinate_transformation_mode", "half_pixel")
    attributes = dict(call.attributes("axes", "keep_aspect_ratio_policy"))
    if placing == "tf_half_pixel_for_nn":
        rounding = _FOR_NN.get(call.node.str("nearest_mode", "round_prefer_floor"))
        if rounding is None or call.node.str("mode", "nearest") != "nearest":
            raise call.unsupported(f"Resize with coordinate_transformation_mode={placing}")
        attributes |= {"coordinate_transformation_mode": "half_pixel", "nearest_mode": rounding}
    shape = np.asarray(call.shape())
    axes = np.asarray(call.node.ints("axes", tuple(range(len(shape)))), np.int64) % len(shape)
    region = call.node.input(1) if placing == _CROP else ""
    if region and len(axes) < len(shape):
        raise call.unsupported("Resize with axes and a region")
    scales, sizes = (call.known(i, "scales") if call.node.input(i) else np.zeros(0) for i in (2, 3))
    if sizes.size:
        sizes = _kept_ratio(call, shape[axes], sizes)
        full = shape.copy()
        full[axes] = sizes
        wanted = ["", call.number("sizes", full)]
    elif scales.size:
        factors = np.ones(len(shape), np.float32)
        factors[axes] = scales
        wanted = [call.number("scales", factors)]
        full = np.floor(shape * factors.astype(np.float64)).astype(np.int64)
        if placing == "half_pixel_symmetric" and not np.array_equal(full, shape * factors.astype(np.float64)):
            raise call.unsupported("Resize with coordinate_transformation_mode=half_pixel_symmetric at this scale")
    else:
        raise call.unsupported("Resize without scales and sizes")
    if placing == "half_pixel_symmetric":
        attributes["coordinate_transformation_mode"] = "half_pixel"
    call.end("Resize", call.node.inputs[0], region, *wanted, **attributes)


def _kept_ratio(call: Call, shape: Array, sizes: Array) -> Array:
    policy = call.node.str("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes
    scale = (min if policy == "not_larger" else max)(sizes / shape)
    return np.asarray(np.floor(scale * shape + 0.5), np.int64)
