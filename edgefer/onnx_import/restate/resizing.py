"""Resize and Upsample of all opsets, with ONNX Runtime's meaning where the standard left it open.

Until opset 10 samples lie at `x / scale`.  Nearest then takes the whole number below where an axis grows and the one
above where it shrinks, as ONNX Runtime does; the two round alike where a scale is one over a whole number.
"""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array, Attribute
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call

_CHOICES = {
    "mode": ("nearest", "linear", "cubic"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "coordinate_transformation_mode": (
        *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
        *("tf_half_pixel_for_nn", "tf_crop_and_resize"),
    ),
}
"""What an attribute may say, its default first."""
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
    shape = np.asarray(call.shape())
    if mode not in ("nearest", "linear", "bilinear"):
        raise call.unsupported(f"{call.node.op} with mode={mode}")
    how: dict[str, Attribute] = {"coordinate_transformation_mode": "asymmetric"}
    if mode != "nearest":
        call.end("Resize", x, "", *_wanted(call, shape, scales), mode="linear", **how)
        return
    rounds_up = (scales < 1) & (1 / scales != np.round(1 / scales))
    if rounds_up.any() and not rounds_up.all() and (scales[~rounds_up] != 1).any():
        grown = np.where(rounds_up, 1, scales).astype(np.float32)
        x = call.add("Resize", x, "", *_wanted(call, shape, grown), mode="nearest", nearest_mode="floor", **how)
        shape = np.asarray(call.scope.info[x].shape)
        scales = np.where(rounds_up, scales, 1).astype(np.float32)
    rounding = "ceil" if rounds_up.any() else "floor"
    call.end("Resize", x, "", *_wanted(call, shape, scales), mode="nearest", nearest_mode=rounding, **how)


@restates("Resize", 11, 13, 18, 19)
def resize(call: Call) -> None:
    """Of all axes, to sizes that are stated, in a way of placing samples that all opsets have."""
    for name, (default, *others) in _CHOICES.items():
        if (choice := call.node.str(name, default)) not in (default, *others):
            raise call.unsupported(f"Resize with {name}={choice}")
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
    scales, sizes = _scales_or_sizes(call, shape, axes)
    if placing == "half_pixel_symmetric":  # the same, where sizes are what scales say
        if scales.size and not np.allclose(shape * scales, np.floor(shape * scales + 1e-3)):
            raise call.unsupported(f"Resize with coordinate_transformation_mode={placing} at this scale")
        attributes["coordinate_transformation_mode"] = "half_pixel"
    wanted = _wanted(call, shape, scales) if scales.size else ("", call.number("sizes", sizes))
    call.end("Resize", call.node.inputs[0], region, *wanted, **attributes)


def _scales_or_sizes(call: Call, shape: Array, axes: Array) -> tuple[Array, Array]:
    """One of them, for all axes; the other is empty."""
    scales, sizes = (call.known(i, "scales") if call.node.input(i) else np.zeros(0) for i in (2, 3))
    policy = call.node.str("keep_aspect_ratio_policy", "stretch")
    if sizes.size and policy != "stretch":
        scale = (min if policy == "not_larger" else max)(sizes / shape[axes])
        if not np.array_equal(np.floor(shape[axes] * scale), np.floor(shape[axes] * scale + 0.5)):
            raise call.unsupported(f"Resize with keep_aspect_ratio_policy={policy} at this size")
        scales, sizes = np.full(len(axes), scale), np.zeros(0)
    if sizes.size:
        every = shape.copy()
        every[axes] = sizes
        return np.zeros(0), every
    if not scales.size:
        raise call.unsupported("Resize without scales and sizes")
    factors = np.ones(len(shape), np.float32)
    factors[axes] = scales
    return factors, np.zeros(0)


def _wanted(call: Call, shape: Array, scales: Array) -> tuple[str, ...]:
    """Inputs 2 and 3: scales, or sizes where these are what ONNX Runtime computes, in float32, and onnx does not."""
    sizes = shape.astype(np.float32)
    full = np.floor(sizes * scales)
    if np.array_equal(full, np.floor(shape.astype(np.float64) * scales)) or not np.array_equal(full / sizes, scales):
        return (call.number("scales", scales),)
    return "", call.number("sizes", full.astype(np.int64))
