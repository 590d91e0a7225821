"""Resize over height and width, in the ways that LiteRT has; passes say the others by gathering and products."""

from __future__ import annotations

from collections.abc import Sequence

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC
from edgefer.emit.tflite.site import Site
from edgefer.graph.placing import exact_kernel


@emits("Resize", keeps_params=True)
def resize(at: Site) -> None:
    """Nearest and linear interpolation, where TFLite reads exactly what ONNX reads."""
    mode = at.node.str("mode", "nearest")
    kernel = exact_kernel(at.graph, at.node)
    if kernel is None:
        transformation = at.node.str("coordinate_transformation_mode", "half_pixel")
        raise at.unsupported(f"mode={mode}, coordinate_transformation_mode={transformation} at this size")
    times = [new // old for old, new in zip(at.shape()[2:], at.output_shape[2:], strict=True)]
    whole = all(old * count == new for old, count, new in zip(at.shape()[2:], times, at.output_shape[2:], strict=True))
    if mode == "nearest" and whole and max(times) <= _FEW and not at.quantized:  # in int8 that is slower
        _repeat(at, times)
        return
    op, options = (
        ("RESIZE_BILINEAR", "ResizeBilinearOptions")
        if mode == "linear"
        else ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
    )
    at.emit(
        op,
        [at.input(0, NHWC), at.integers(at.output_shape[2:], "size")],
        at.output(NHWC),
        options,
        halfPixelCenters=kernel.centred,
        alignCorners=kernel.aligned,
    )


_FEW = 4  # that delegates join at once


def _repeat(at: Site, times: Sequence[int]) -> None:
    """Each row, then each column, as often as stated: parts joined along an axis of one element, as delegates do."""
    source = at.input(0, NHWC)
    for axis, count in enumerate(times, 1):
        if count > 1:
            shape = at.values.writer.tensors[source].shape
            apart = at.values.reshape(
                source, (*shape[: axis + 1], 1, *shape[axis + 1 :]), f"{at.node.output}/apart_{axis}"
            )
            repeated = at.temporary((*shape[: axis + 1], count, *shape[axis + 1 :]), f"repeated_{axis}", like=source)
            at.emit("CONCATENATION", [apart] * count, repeated, "ConcatenationOptions", axis=axis + 1)
            grown = tuple(size * count if place == axis else size for place, size in enumerate(shape))
            source = at.values.reshape(repeated, grown, f"{at.node.output}/grown_{axis}")
    at.values.reshape_into(source, at.output(NHWC))
