"""Any network as an ONNX file; its Spec from options, a sidecar, or the file's own metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import onnx

from edgefer.errors import InputError, UsageError
from edgefer.graph.image_input import takes_channels_first, takes_floats
from edgefer.graph.ir import Array, Graph
from edgefer.images import Image
from edgefer.images.preprocess import normalise
from edgefer.networks.network import Network, Original, Source
from edgefer.onnx_import import read_onnx, taken_by
from edgefer.spec import Layout, Spec

FAMILY = "onnx_file"
METADATA_KEY = "edgefer.spec"
"""Key in `metadata_props`; its value is `Spec.to_dict()` as JSON."""

_CHANNELS = (1, 3)
_FLOAT = np.dtype(np.float32)


def recognises(source: Source) -> bool:
    """Whether the file's name says ONNX."""
    return source.path.suffix.lower() == ".onnx"


def load(source: Source) -> Network:
    """Read the file.

    Raises:
        InputError: it is not a readable ONNX network of an image or a clip, and perhaps states, or nothing says what it
            means.
    """
    if source.weights:
        raise UsageError(f"--weights {source.weights}: {source.path} is not a checkpoint: it holds one set of weights")
    inputs = _inputs(source)
    image = next((each for each in inputs if len(each.shape) > 3), inputs[0] if inputs else _Input("", (), _FLOAT))
    spec = source.read_spec(_metadata(source), image.shown)
    layout = spec.input.layout or image.layout
    height, width = spec.input.size
    channels = len(spec.input.planes)
    shape = (height, width, channels) if layout == "NHWC" else (channels, height, width)
    shape = (1, *((spec.input.frames,) if spec.input.frames is not None else ()), *shape)
    imported = read_onnx(source.path, shape, {state.input: state.shape for state in spec.states})
    graph, notes = imported.graph, imported.notes
    _require_states(source, graph, spec)
    states = {state.input: state.before_first() for state in spec.states}
    graph = replace(graph, inputs=(*(name for name in graph.inputs if name not in states), *states))
    _require_image(source, graph, spec, layout)
    if image.dtype.kind in "iu":
        plain = replace(spec.input, mean=(0.0,) * channels, std=(1 / 255,) * channels)
        if plain != spec.input:
            notes = (*notes, f"it takes {image.dtype} pixels and normalises them itself: mean and std are left out")
        spec = replace(spec, input=plain)
    try:
        graph = takes_floats(graph)
    except InputError as error:
        raise InputError(f"{source.path}: {error.message}", remedy=error.remedy) from error
    if layout == "NHWC":
        graph = takes_channels_first(graph)

    def together(images: Sequence[Image]) -> dict[str, Array]:
        planes = np.concatenate([normalise(each, spec.input) for each in images])
        if layout == "NHWC":
            planes = planes.transpose(0, 2, 3, 1)
        if image.dtype.kind in "iu":
            planes = np.rint(planes)
        fed = {each.name: planes.astype(each.dtype) if each is image else each.zeros() for each in inputs}
        return {**fed, **{name: state.astype(fed[name].dtype) for name, state in states.items()}}

    def feed(pixels: Image) -> dict[str, Array]:
        companions = cycle([255 - pixels, pixels[::-1]])  # whatever the others are, the first image's answer is its own
        return together([pixels, *islice(companions, image.batch - 1)])

    is_open = image.shape[:1] == (0,) and not states
    original = Original(source.path, feed, together if is_open else None)
    return Network(source.name, FAMILY, graph, spec, source, original, notes)


@dataclass(frozen=True)
class _Input:
    """What the file says of an input: dimensions that it leaves open are 0."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def batch(self) -> int:
        """How many images the file takes at once, 1 where it leaves that open."""
        return max(self.shape[0], 1)

    @property
    def layout(self) -> Layout:
        """Where the channels are, if these are an image's dimensions."""
        is_last = len(self.shape) == 4 and self.shape[3] in _CHANNELS and self.shape[1] not in _CHANNELS
        return "NHWC" if is_last else "NCHW"

    @property
    def shown(self) -> dict[str, Any]:
        """What a Spec need not say of it."""
        channels = self.shape[3 if self.layout == "NHWC" else 1] if len(self.shape) == 4 else 0
        gray = {"color": "GRAY"} if channels == 1 else {}
        plain = {"mean": [0] * (channels or 3), "std": [1 / 255] * (channels or 3)} if self.dtype.kind in "iu" else {}
        return {**gray, **plain, **({"layout": "NHWC"} if self.layout == "NHWC" else {})}

    def zeros(self) -> Array:
        """Something to feed it."""
        return np.zeros([max(side, 1) for side in self.shape], self.dtype)


def _inputs(source: Source) -> list[_Input]:
    try:
        found = taken_by(onnx.load(source.path, load_external_data=False).graph)
        tensors = {value.name: value.type.tensor_type for value in found}
        return [
            _Input(
                name,
                tuple(max(dim.dim_value, 0) for dim in tensor.shape.dim),
                onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type),
            )
            for name, tensor in tensors.items()
        ]
    except Exception:  # `read_onnx` says what is wrong with the file
        return []


def _metadata(source: Source) -> dict[str, Any]:
    try:
        properties = onnx.load(source.path, load_external_data=False).metadata_props
    except Exception:  # `read_onnx` says what is wrong with the file
        return {}
    text = next((entry.value for entry in properties if entry.key == METADATA_KEY), "{}")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{source.path}: its metadata {METADATA_KEY} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{source.path}: its metadata {METADATA_KEY} is not a JSON object")
    return document


def _require_states(source: Source, graph: Graph, spec: Spec) -> None:
    """All inputs must be the image or states of the Spec."""
    known = {state.input for state in spec.states}
    shapes = {name: graph.shape(name) for name in graph.inputs}
    if missing := sorted(known - shapes.keys()):
        raise InputError(
            f"{source.path}: no output depends on an input {missing[0]!r}, which the Spec's [[states]] name",
            remedy=f"Its inputs are {', '.join(shapes) or 'none'}.",
        )
    if len(shapes) - len(known) == 1:
        return
    further = {name: shape for name, shape in shapes.items() if name not in known and len(shape) < 4}
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
    tables = "".join(
        f'\n\n[[states]]\nname = "{name}"\ninput = "{name}"\noutput = "{" or ".join(alike)}"\nshape = {list(shape)}'
        for name, shape in further.items()
        if (alike := [output for output in graph.outputs if graph.shape(output) == shape])
    )
    raise InputError(
        f"{source.path}: its outputs depend on {len(shapes)} inputs ({listed}), and the Spec does not say what all but "
        "the image are",
        remedy=f"State in {source.sidecar} what it carries on from one image to the next:{tables}"
        if tables
        else "edgefer converts networks of one image, or clip, and of states that they return: export that part alone.",
    )


def _require_image(source: Source, graph: Graph, spec: Spec, layout: Layout) -> None:
    name = graph.inputs[0]
    shape = graph.shape(name)
    if len(shape) == 5 and spec.input.frames is None:
        raise InputError(
            f"{source.path}: its input {name!r} is {list(shape)}, a clip of several images",
            remedy=f"Say so in {source.sidecar}: frames = {shape[1]} under [input].",
        )
    if spec.input.frames is not None and (len(shape) != 5 or layout == "NHWC"):
        raise InputError(
            f"{source.path}: its input {name!r} is {list(shape)}, and the Spec makes it clips, input.frames = "
            f"{spec.input.frames}",
            remedy="Export the network with (N, T, channels, H, W) as its input, or leave out frames.",
        )
    if spec.input.frames is not None:
        shape = (shape[0], *shape[2:])
    if len(shape) != 4:
        raise InputError(
            f"{source.path}: its input {name!r} is {list(shape)}, which has not the four axes of an image",
            remedy="Export the network with (N, channels, H, W) or (N, H, W, channels) as its input.",
        )
    channels = shape[3 if layout == "NHWC" else 1]
    if channels not in _CHANNELS:
        raise InputError(
            f"{source.path}: its input {name!r} is {list(shape)}, as {layout} of {channels} channels, not 1 or 3",
            remedy='Is its layout another? State layout = "NCHW" or "NHWC" under [input] in the Spec.',
        )
    if channels != len(spec.input.planes):
        raise InputError(
            f"{source.path}: its input {name!r} has {channels} channels, but the Spec's color is {spec.input.color}",
            remedy='State color = "GRAY", with one mean and std.'
            if channels == 1
            else 'State color = "RGB" or "BGR": gray images become three equal channels.',
        )
