"""Pooling over windows and over whole images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import NHWC
from edgefer.emit.tflite.ops.shape import join
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import SAME, VALID, Window, padded, window
from edgefer.graph.ir import Array
from edgefer.graph.patterns import is_never_negative


@emits("MaxPool", keeps_params=True)
def max_pool(at: Site) -> None:
    """Largest of each window; padding never wins."""
    at.require_rank(4)
    if len([value for value in at.node.outputs if value]) > 1:
        raise at.unsupported("indices as output")
    slide = _pooling_window(at)
    source = at.input(0, NHWC)
    if slide.padding is None:
        if is_never_negative(at.graph, at.node.inputs[0]):
            source = padded(at, source, slide.amounts)
        else:
            source = _with_edges(at, source, slide.amounts)
    _pool(at, "MAX_POOL_2D", source, slide, at.output(NHWC))


def _with_edges(at: Site, source: int, amounts: Sequence[tuple[int, int]]) -> int:
    """The map with its edges repeated: every window that reaches beyond an edge has that edge in it too."""
    for axis, (before, after) in enumerate(amounts):
        shape = at.values.writer.tensors[source].shape
        edges = {}
        for place, count in ((0, before), (shape[axis] - 1, after)):
            few = [1 if other == axis else size for other, size in enumerate(shape)]
            edges[place] = at.temporary(few, f"edge_{axis}_{place}", like=source) if count else source
            begin = [place if other == axis else 0 for other in range(len(shape))]
            if count:
                inputs = [source, at.integers(begin, "begin"), at.integers(few, "size")]
                at.emit("SLICE", inputs, edges[place], "SliceOptions")
        parts = [edges[0]] * before + [source] + [edges[shape[axis] - 1]] * after
        if len(parts) > 1:
            grown = [size + (before + after if other == axis else 0) for other, size in enumerate(shape)]
            whole = at.temporary(grown, f"with_edges_{axis}", like=source)
            join(at, parts, axis, whole)
            source = whole
    return source


@emits("AveragePool")
def average_pool(at: Site) -> None:
    """Mean of each window, over the elements that ONNX counts; in float, as int8 kernels round in their own ways."""
    at = at.in_float()
    at.require_rank(4)
    slide = _pooling_window(at)
    counted = _counted(at, slide)
    taps = slide.height.kernel * slide.width.kernel
    if slide.padding is not None and np.array_equal(counted, _counted_by_tflite(slide)):
        _pool(at, "AVERAGE_POOL_2D", at.input(0, NHWC), slide, at.output(NHWC))
        return
    factors = (taps / counted).astype(np.float32)
    uneven = bool(np.any(factors != 1))
    source = padded(at, at.input(0, NHWC), slide.amounts)
    target = at.output(NHWC)
    if not uneven:
        _pool(at, "AVERAGE_POOL_2D", source, slide, target, VALID)
        return
    mean = at.temporary(at.values.writer.tensors[target].shape, "mean of all taps")
    _pool(at, "AVERAGE_POOL_2D", source, slide, mean, VALID)
    correction = at.values.constant(f"{at.node.output}/factors", factors[None, :, :, None])
    at.emit("MUL", [mean, correction], target, "MulOptions")


@emits("GlobalAveragePool")
def global_average_pool(at: Site) -> None:
    """Mean over all spatial axes, kept."""
    layout = at.layout()
    axes = [layout.index(axis) for axis in range(2, len(layout))]
    at.emit(
        "MEAN",
        [at.input(0, layout), at.integers(axes, "axes")],
        at.output(layout),
        "ReducerOptions",
        keepDims=True,
    )


@emits("GlobalMaxPool", keeps_params=True)
def global_max_pool(at: Site) -> None:
    """Largest over height and width: a window as large as the image."""
    at.require_rank(4)
    height, width = at.shape()[2:]
    at.emit(
        "MAX_POOL_2D",
        [at.input(0, NHWC)],
        at.output(NHWC),
        "Pool2DOptions",
        padding=VALID,
        strideH=1,
        strideW=1,
        filterHeight=height,
        filterWidth=width,
    )


def _pooling_window(at: Site) -> Window:
    if set(at.node.ints("dilations", (1, 1))) != {1}:
        raise at.unsupported(f"dilations={list(at.node.ints('dilations'))}")
    return window(at, at.node.ints("kernel_shape"))


def _pool(at: Site, op: str, source: int, slide: Window, target: int, padding: int | None = None) -> None:
    at.emit(
        op,
        [source],
        target,
        "Pool2DOptions",
        padding=VALID if slide.padding is None else slide.padding if padding is None else padding,
        strideH=slide.height.stride,
        strideW=slide.width.stride,
        filterHeight=slide.height.kernel,
        filterWidth=slide.width.kernel,
    )


def _counted(at: Site, slide: Window) -> Array:
    """For each output (height, width), the elements that ONNX averages over."""
    included = at.node.int("count_include_pad")
    return np.outer(
        *(
            axis.taps_within(-axis.before, axis.size + axis.after) if included else axis.taps_within(0, axis.size)
            for axis in (slide.height, slide.width)
        )
    )


def _counted_by_tflite(slide: Window) -> Array:
    assert slide.padding in (SAME, VALID)
    return np.outer(*(axis.taps_within(0, axis.size) for axis in (slide.height, slide.width)))
