"""What a bundle is made of: operators, tensors with their scales and sizes, and what is left to slow kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from edgefer.bundle import Artifact, Bundle
from edgefer.evaluation.layers import view_layers
from edgefer.evaluation.rebuild import Rebuilt, rebuild
from edgefer.evaluation.results import LayerView
from edgefer.graph.macs import macs, parameters
from edgefer.host.progress import SILENT, Progress
from edgefer.images import ImageSet, in_sequences, open_images
from edgefer.runtime.delegation import undelegated

SCHEMA = "edgefer.inspection/1"
LAYER_IMAGES = 32


@dataclass(frozen=True)
class OperatorCount:
    """How many nodes of an operator compute in what."""

    op: str
    int8: int
    float: int


@dataclass(frozen=True)
class TensorView:
    """A weight or an activation.

    Attributes:
        name: in the float graph and the Plan.
        op: operator that makes it, `constant` for weights, `input` for the image.
        shape: in the float graph's layout.
        dtype: of the stored values.
        bytes: that it takes.
        scale: smallest and largest scale, None where it is stored as float.
        scales: how many: 1, or one per channel.
        zero_point: None where it is stored as float, or has one per channel.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    scale: tuple[float, float] | None = None
    scales: int = 0
    zero_point: int | None = None


@dataclass(frozen=True)
class Inspection:
    """A bundle taken apart.

    Attributes:
        name: the network's.
        artifacts: files, the float reference included.
        undelegated: TFLite operators that XNNPACK leaves to slow kernels; None without a TFLite artifact.
        operators: of the float graph, the most frequent first.
        tensors: in network order, each node's constants before what it makes.
        parameters: numbers that the network has learnt.
        macs: multiply-accumulates per frame.
        layers: None where no images were given.
    """

    name: str
    artifacts: tuple[Artifact, ...]
    undelegated: tuple[str, ...] | None
    operators: tuple[OperatorCount, ...]
    tensors: tuple[TensorView, ...]
    parameters: int
    macs: int
    layers: LayerView | None

    def largest(self, count: int, *, constants: bool) -> tuple[TensorView, ...]:
        """The `count` largest constants, or activations."""
        chosen = (tensor for tensor in self.tensors if (tensor.op == "constant") == constants)
        return tuple(sorted(chosen, key=lambda tensor: -tensor.bytes)[:count])

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.inspection/1`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "artifacts": [{**vars(artifact), "ops": dict(artifact.ops)} for artifact in self.artifacts],
            "undelegated": None if self.undelegated is None else list(self.undelegated),
            "operators": [vars(operator) for operator in self.operators],
            "tensors": [{**vars(t), "shape": list(t.shape), "scale": t.scale and list(t.scale)} for t in self.tensors],
            "parameters": self.parameters,
            "macs": self.macs,
            "layers": self.layers and self.layers.to_dict(),
        }


def inspect(
    bundle: Bundle | str | Path, data: ImageSet | str | Path | None = None, *, progress: Progress = SILENT
) -> Inspection:
    """Take a bundle apart.

    Args:
        bundle: an opened bundle, or its directory.
        data: images on which each tensor's SQNR is measured, the first 32; not measured when None.
        progress: who is told.

    Raises:
        InputError: the bundle was altered, or its plan does not explain it; the images cannot be read.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
    rebuilt = rebuild(bundle)
    layers = None
    if data is not None:
        images = data if isinstance(data, ImageSet) else in_sequences(open_images(Path(data)), bundle.spec)
        with progress.stage("compare"):
            layers = view_layers(bundle, images.select(range(min(LAYER_IMAGES, len(images)))))
    has_tflite = any(artifact.format == "tflite" for artifact in bundle.artifacts)
    return Inspection(
        bundle.name,
        bundle.artifacts,
        tuple(undelegated(bundle.artifact("tflite").read_bytes())) if has_tflite else None,
        _operators(rebuilt),
        _tensors(rebuilt),
        parameters(rebuilt.graph),
        macs(rebuilt.graph),
        layers,
    )


def _operators(rebuilt: Rebuilt) -> tuple[OperatorCount, ...]:
    counts: dict[str, list[int]] = {}
    for node in rebuilt.graph.nodes:
        name = f"{node.op}+{node.activation}" if node.activation else node.op
        counts.setdefault(name, [0, 0])[0 if rebuilt.plan.is_int8(node.name) else 1] += 1
    found = (OperatorCount(op, int8, in_float) for op, (int8, in_float) in counts.items())
    return tuple(sorted(found, key=lambda count: (-count.int8 - count.float, count.op)))


def _tensors(rebuilt: Rebuilt) -> tuple[TensorView, ...]:
    graph = rebuilt.graph
    makers: Mapping[str, str] = {
        **dict.fromkeys(graph.inputs, "input"),
        **{value: node.op for node in graph.nodes for value in node.outputs if value},
    }
    order = dict.fromkeys(
        (*graph.inputs, *(value for node in graph.nodes for value in (*node.inputs, *node.outputs) if value))
    )
    return tuple(_tensor(rebuilt, value, makers.get(value, "constant")) for value in order)


def _tensor(rebuilt: Rebuilt, value: str, op: str) -> TensorView:
    info, params = rebuilt.graph.info[value], rebuilt.plan.tensors.get(value)
    if params is None:
        return TensorView(value, op, info.shape, str(info.dtype), prod(info.shape) * info.dtype.itemsize)
    size = prod(info.shape) * params.bits // 8
    zero_point = params.zero_point[0] if len(params.zero_point) == 1 else None
    scale = (min(params.scale), max(params.scale))
    return TensorView(value, op, info.shape, params.dtype, size, scale, len(params.scale), zero_point)
