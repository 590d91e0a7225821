"""Any network as an ONNX file; its Spec from options, a sidecar, or the file's own metadata."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx

from edgefer.errors import InputError, UsageError
from edgefer.graph.ir import Array, Graph
from edgefer.images import Image
from edgefer.images.preprocess import normalise
from edgefer.networks.network import Network, Original, Source
from edgefer.onnx_import import read_onnx

FAMILY = "onnx_file"
METADATA_KEY = "edgefer.spec"
"""Key in `metadata_props`; its value is `Spec.to_dict()` as JSON."""


def recognises(source: Source) -> bool:
    """Whether the file's name says ONNX."""
    return source.path.suffix.lower() == ".onnx"


def load(source: Source) -> Network:
    """Read the file.

    Raises:
        InputError: it is not a readable ONNX network of one NCHW image, or nothing says what it means.
    """
    if source.weights:
        raise UsageError(f"--weights {source.weights}: {source.path} is not a checkpoint: it holds one set of weights")
    spec = source.read_spec(_metadata(source))
    imported = read_onnx(source.path, (1, 3, *spec.input.size))
    graph = imported.graph
    _require_one_image(source, graph)
    name = graph.inputs[0]
    batch, dtype = _declared(source, name)

    def feed(pixels: Image) -> dict[str, Array]:
        return {name: np.repeat(normalise(pixels, spec.input), batch, axis=0).astype(dtype)}

    return Network(source.name, FAMILY, graph, spec, source, Original(source.path, feed), imported.notes)


def _declared(source: Source, name: str) -> tuple[int, np.dtype[Any]]:
    """How many images the file takes at once, 1 where it leaves that open, and of what type."""
    inputs = onnx.load(source.path, load_external_data=False).graph.input
    tensor = next(value for value in inputs if value.name == name).type.tensor_type
    return max(tensor.shape.dim[0].dim_value, 1), onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)


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


def _require_one_image(source: Source, graph: Graph) -> None:
    shapes = {name: graph.shape(name) for name in graph.inputs}
    if len(shapes) != 1:
        raise InputError(
            f"{source.path}: it has {len(shapes)} inputs ({', '.join(shapes)}), not one image",
            remedy="Export the network with the image as its only input.",
        )
    name, shape = next(iter(shapes.items()))
    if len(shape) == 4 and shape[1] != 3 and shape[3] == 3:
        raise InputError(
            f"{source.path}: its input {name!r} is NHWC {list(shape)}",
            remedy="Export it as NCHW: with tf2onnx, --inputs-as-nchw; with PyTorch, feed (N, 3, H, W).",
        )
    if len(shape) != 4 or shape[1] != 3:
        raise InputError(
            f"{source.path}: its input {name!r} is {list(shape)}, not a colour image (N, 3, H, W)",
            remedy="Export the network with three input channels; gray images are repeated to three.",
        )
