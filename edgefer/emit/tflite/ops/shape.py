"""Operators that move numbers about: reshaping, transposing, joining, cutting, padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import (
    NHWC,
    Layout,
    after_reshape,
    after_transpose,
    default,
    identity,
    permuted,
    same_order,
    with_leading_axes,
)
from edgefer.emit.tflite.ops.elementwise import common_layout
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import pad_into, padded
from edgefer.plan import QuantParams


@emits("Identity", "Dropout", keeps_params=True)
def identical(at: Site) -> None:
    """The same tensor under another name."""
    at.hand_on(at.layout(), at.layout())


@emits("Transpose", keeps_params=True)
def transpose(at: Site) -> None:
    """The same tensor, seen in another layout: nothing moves until someone asks for it."""
    layout = at.layout()
    order = at.node.ints("perm", identity(len(layout))[::-1])
    at.hand_on(after_transpose(layout, order), layout)


@emits("Reshape", "Flatten", "Squeeze", "Unsqueeze", keeps_params=True)
def reshape(at: Site) -> None:
    """Another shape for the same elements in ONNX's order; nothing moves where the layout need not change."""
    stored = at.layout()
    target = after_reshape(stored, at.shape(), at.output_shape)
    if target is None:
        stored, target = identity(len(at.shape())), identity(len(at.output_shape))
    wanted = default(len(target))
    if same_order(at.output_shape, target, wanted):
        target = wanted
    at.values.reshape_into(at.input(0, stored), at.output(target))


@emits("Expand", keeps_params=True)
def expand(at: Site) -> None:
    """A product with ones, which repeats what is smaller."""
    shape, rank = at.output_shape, len(at.output_shape)
    layout = at.layout()
    layout = layout if len(layout) == rank else with_leading_axes(layout, rank)
    source = at.input(0, layout)
    have = at.values.writer.tensors[source].shape
    ones = [size if size != old else 1 for size, old in zip(permuted(shape, layout), have, strict=True)]
    params = QuantParams("int8", (1.0,), (0,)) if at.quantized else None
    factor = at.values.constant("ones", np.ones(ones, at.graph.info[at.node.output].dtype), params)
    at.emit("MUL", [source, factor], at.output(layout), "MulOptions")


@emits("Concat", keeps_params=True)
def concat(at: Site) -> None:
    """Values joined along an axis, a few at a time, as XNNPACK takes them."""
    layout = common_layout(at)
    axis = layout.index(at.node.int("axis") % len(layout))
    operands = [at.input(index, layout) for index in range(len(at.node.inputs))]
    join(at, operands, axis, at.output(layout))


def join(at: Site, operands: Sequence[int], axis: int, target: int) -> None:
    """Fill `target` with tensors one after the other along a stored axis, a few at a time."""
    tensors = at.values.writer.tensors
    while len(operands) > _FEW:
        groups = [operands[start : start + _FEW] for start in range(0, len(operands), _FEW)]
        operands = []
        for group in groups:
            shape = list(tensors[group[0]].shape)
            shape[axis] = sum(tensors[operand].shape[axis] for operand in group)
            operands.append(at.temporary(shape, "joined", like=group[0]) if len(group) > 1 else group[0])
            if len(group) > 1:
                at.emit("CONCATENATION", group, operands[-1], "ConcatenationOptions", axis=axis)
    at.emit("CONCATENATION", operands, target, "ConcatenationOptions", axis=axis)


@emits("Split", keeps_params=True)
def split(at: Site) -> None:
    """A value cut along an axis, piece by piece: SLICE is taken over by delegates whatever the sizes."""
    layout = at.layout()
    axis = at.node.int("axis") % len(layout)
    start = 0
    for index, value in enumerate(at.node.outputs):
        length = at.graph.shape(value)[axis]
        begin = tuple(start if other == axis else 0 for other in range(len(layout)))
        if value in at.graph.consumers or value in at.graph.outputs:
            _slice(at, layout, begin, at.graph.shape(value), at.output(layout, index))
        start += length


@emits("Slice", keeps_params=True)
def slice_(at: Site) -> None:
    """A part of a value, possibly every n-th element, possibly backwards."""
    layout = at.layout()
    shape = at.shape()
    ranges = [range(size) for size in shape]
    starts, ends, axes, steps = (at.constant(index) for index in (1, 2, 3, 4))
    assert starts is not None
    assert ends is not None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        ranges[axis] = range(shape[axis])[start:end:step]
    if all(part.step == 1 for part in ranges):
        _slice(at, layout, [part.start for part in ranges], at.output_shape, at.output(layout))
        return
    ordered = [ranges[axis] for axis in layout]
    source = at.input(0, layout)
    for position, part in enumerate(ordered):
        forwards = part if part.step > 0 else part[::-1]
        if forwards.step > 1 and (cut := _every_nth(at, source, position, forwards)) is not None:
            source, ordered[position] = cut, range(len(part)) if part.step > 0 else range(len(part))[::-1]
    if all(abs(part.step) == 1 for part in ordered):
        _turned(at, source, ordered, at.output(layout))
        return
    at.emit(
        "STRIDED_SLICE",
        [
            source,
            at.integers([part.start for part in ordered], "begin"),
            at.integers([part.stop for part in ordered], "end"),
            at.integers([part.step for part in ordered], "strides"),
        ],
        at.output(layout),
        "StridedSliceOptions",
        endMask=sum(1 << position for position, part in enumerate(ordered) if part.stop < 0),
    )


def _turned(at: Site, source: int, parts: Sequence[range], target: int) -> None:
    """Fill `target` with parts of `source`, those with a step of -1 backwards, for which there is a faster kernel."""
    backwards = [axis for axis, part in enumerate(parts) if part.step < 0]
    begin, sizes = [min(part) for part in parts], [len(part) for part in parts]
    if not backwards or tuple(sizes) != tuple(at.values.writer.tensors[source].shape):
        cut = at.temporary(sizes, "part", like=source) if backwards else target
        at.emit("SLICE", [source, at.integers(begin, "begin"), at.integers(sizes, "size")], cut, "SliceOptions")
        source = cut
    for axis in backwards:
        made = target if axis == backwards[-1] else at.temporary(sizes, f"turned_{axis}", like=source)
        at.emit("REVERSE_V2", [source, at.integers([axis], "axis")], made, "ReverseV2Options")
        source = made


def _every_nth(at: Site, source: int, axis: int, part: range) -> int | None:
    """A tensor of every n-th element along an axis, which is cut in groups of n, as delegates do not take strides.

    None where there are too many axes.
    """
    shape = at.values.writer.tensors[source].shape
    if len(shape) >= _LARGEST_RANK:
        return None
    rest = shape[axis] - len(part) * part.step
    if rest < 0:
        source = padded(at, source, [(0, -rest if place == axis else 0) for place in range(len(shape))])
        shape, rest = at.values.writer.tensors[source].shape, 0
    first = min(part.start, rest)
    if rest:
        sizes = [len(part) * part.step if place == axis else size for place, size in enumerate(shape)]
        whole = at.temporary(sizes, f"groups_{axis}", like=source)
        begin = [first if place == axis else 0 for place in range(len(shape))]
        at.emit("SLICE", [source, at.integers(begin, "begin"), at.integers(sizes, "size")], whole, "SliceOptions")
        source = whole
    grouped = (*shape[:axis], len(part), part.step, *shape[axis + 1 :])
    groups = at.values.reshape(source, grouped, f"{at.node.output}/in_groups_{axis}")
    few = tuple(1 if place == axis + 1 else size for place, size in enumerate(grouped))
    chosen = at.temporary(few, f"one_of_each_{axis}", like=source)
    begin = [part.start - first if place == axis + 1 else 0 for place in range(len(grouped))]
    at.emit("SLICE", [groups, at.integers(begin, "begin"), at.integers(few, "size")], chosen, "SliceOptions")
    return at.values.reshape(chosen, (*few[: axis + 1], *few[axis + 2 :]), f"{at.node.output}/every_{axis}")


_LARGEST_RANK = 5  # that delegates take slices of, with an axis more while they cut


def _slice(at: Site, layout: Layout, begin: Sequence[int], shape: Sequence[int], target: int) -> None:
    at.emit(
        "SLICE",
        [
            at.input(0, layout),
            at.integers(permuted(begin, layout), "begin"),
            at.integers(permuted(shape, layout), "size"),
        ],
        target,
        "SliceOptions",
    )


@emits("Gather", keeps_params=True)
def gather(at: Site) -> None:
    """Elements picked along an axis by constant indices; a few are cut out and joined, which delegates take over."""
    layout = at.layout()
    rank = len(layout)
    axis = at.node.int("axis") % rank
    picked = at.constant(1)
    assert picked is not None
    if picked.ndim > 1:
        raise at.unsupported(f"indices of rank {picked.ndim}")
    indices = [int(index) % at.shape()[axis] for index in picked.reshape(-1)]
    if picked.ndim == 0:
        left = [other for other in range(rank) if other != axis]
        kept = tuple(left.index(other) for other in layout if other != axis)
    else:
        kept = layout
    source, target = at.input(0, layout), at.output(kept)
    starts = [place for place, index in enumerate(indices) if not place or index != indices[place - 1] + 1]
    if len(starts) <= _PIECES:
        pieces = []
        for start, stop in zip(starts, [*starts[1:], len(indices)], strict=True):
            shape = tuple(stop - start if other == axis else size for other, size in enumerate(at.shape()))
            is_all = picked.ndim == 1 and len(starts) == 1
            piece = target if is_all else at.temporary(permuted(shape, layout), f"piece_{start}", like=source)
            _slice(at, layout, [indices[start] if other == axis else 0 for other in range(rank)], shape, piece)
            pieces.append(piece)
        if picked.ndim == 0:
            at.values.reshape_into(pieces[0], target)
        elif len(pieces) > 1:
            join(at, pieces, layout.index(axis), target)
        return
    table = at.values.constant("indices", np.asarray(indices, np.int32).reshape(picked.shape))
    at.emit("GATHER", [source, table], target, "GatherOptions", axis=layout.index(axis))


_FEW = 4
"""Tensors that XNNPACK joins at once."""

_PIECES = 8
"""Runs of neighbours that are cut out and joined, rather than picked by a kernel that delegates do not have."""


@emits("Pad", keeps_params=True)
def pad(at: Site) -> None:
    """Constant or mirrored borders."""
    layout = at.layout()
    rank = len(layout)
    stated, fill, axes = (at.constant(index) for index in (1, 2, 3))
    assert stated is not None
    amounts = [(0, 0)] * rank
    half = len(stated) // 2
    for index, axis in enumerate(range(rank) if axes is None else axes.tolist()):
        amounts[axis] = (int(stated[index]), int(stated[half + index]))
    if min(min(pair) for pair in amounts) < 0:
        raise at.unsupported("negative pads")
    ordered = [amounts[axis] for axis in layout]
    mode = at.node.str("mode", "constant")
    if mode == "reflect":
        table = at.values.constant("paddings", np.asarray(ordered, np.int32))
        at.emit(
            "MIRROR_PAD",
            [at.input(0, layout), table],
            at.output(layout),
            "MirrorPadOptions",
            mode=schema.MirrorPadMode.REFLECT,
        )
    elif mode == "constant":
        number = 0.0 if fill is None else float(fill.item())
        pad_into(at, at.input(0, layout), ordered, at.output(layout), number or None)
    else:
        raise at.unsupported(f"mode={mode}")


@emits("DepthToSpace", keeps_params=True)
def depth_to_space(at: Site) -> None:
    """Channels become pixels; in CRD order (PixelShuffle) that is a transpose of six axes."""
    at.require_rank(4)
    block = at.node.int("blocksize")
    if at.node.str("mode", "DCR") == "DCR":
        at.emit("DEPTH_TO_SPACE", [at.input(0, NHWC)], at.output(NHWC), "DepthToSpaceOptions", blockSize=block)
        return
    height, width = at.shape()[2:]
    channels = at.output_shape[1]
    split = at.values.reshape(at.input(0, NHWC), (1, height, width, channels, block, block), f"{at.node.output}/blocks")
    moved = at.values.transpose(split, (0, 1, 4, 2, 5, 3), f"{at.node.output}/pixels")
    at.values.reshape_into(moved, at.output(NHWC))


@emits("SpaceToDepth", keeps_params=True)
def space_to_depth(at: Site) -> None:
    """Pixels become channels."""
    at.require_rank(4)
    block = at.node.int("blocksize")
    at.emit("SPACE_TO_DEPTH", [at.input(0, NHWC)], at.output(NHWC), "SpaceToDepthOptions", blockSize=block)
