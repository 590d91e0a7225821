"""Resize over height and width, in the ways that LiteRT has; passes say the others by gathering and products."""

from __future__ import annotations

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
