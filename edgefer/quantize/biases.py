"""Bias correction: each layer's mean error, on calibration images, is taken out of its bias.

For a linear layer y = W x + b, whose int8 version reads the quantized network's own x', b' = b + E[y - (W' x' + b)]
per output channel (empirical bias correction: Nagel et al., 2019, arXiv:1906.04721).  Layers are treated in network
order, so that each makes up for the errors of all before it.  The network runs piece by piece between its cut
points, and only sampled positions of feature maps are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import cut_points, extract, observing
from edgefer.plan import Plan
from edgefer.quantize.operators import weight_axis
from edgefer.runtime import onnx_session

POSITIONS = 32
"""Positions looked at in each feature map of each image."""

_KEPT = 1 << 15  # numbers in a value that is kept for all images; larger ones are computed again
_CHUNK = 8  # images whose patches are multiplied at once

Floats = npt.NDArray[np.float64]


def correct_biases(
    graph: Graph, plan: Plan, feeds: Sequence[Array], advance: Callable[[], None] = lambda: None
) -> Graph:
    """`graph` with biases with which no layer of stored weights is wrong in the mean.

    Args:
        graph: the float network, one input.
        plan: how it is stored; weights go to the nearest integer.
        feeds: calibration inputs.
        advance: called after each of `pieces(graph)` pieces.
    """
    current = graph
    exact = quantized = list(feeds)
    ends = _piece_ends(graph)
    for start, (end, *others) in zip((graph.inputs[0], *(end for end, *_ in ends)), ends, strict=False):
        piece = extract(graph, [start], [end, *others])
        layers = [layer for node in piece.nodes if (layer := _Layer.of(graph, plan, node)) is not None]
        exact = _observe_float(piece, layers, end, exact)
        for layer in layers:
            layer.see(_run(_int8_session(current, plan, start, layer.source), quantized))
            current = current.with_constants(layer.corrected(plan))
        if end not in graph.outputs:
            quantized = list(_run(_int8_session(current, plan, start, end), quantized))
        advance()
    return current


def pieces(graph: Graph) -> int:
    """How many pieces `correct_biases` goes through."""
    return len(_piece_ends(graph))


def _piece_ends(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Small cut points with a linear layer before each; the last piece ends with the network's outputs."""
    linear = {node.output for node in graph.nodes if node.op in ("Conv", "Gemm")}
    ends: list[tuple[str, ...]] = []
    seen = False
    cuts = {value for value in cut_points(graph) if prod(graph.shape(value)) <= _KEPT}
    for node in graph.nodes:
        seen = seen or node.output in linear
        if seen and node.output in cuts:
            ends.append((node.output,))
            seen = False
    return (*ends, graph.outputs)


@dataclass
class _Layer:
    """A linear layer, as `groups` independent products, and what was seen of its input and output.

    Attributes:
        node: the Conv or Gemm.
        weights: float64 (groups, outputs, inputs).
        shape: of the constant that holds the weights.
        bias: float64 (groups, outputs).
        grid: height and width of the output; (1, 1) for Gemm.
    """

    node: Node
    weights: Floats
    shape: tuple[int, ...]
    bias: Floats
    grid: tuple[int, int]
    output_sum: Floats = field(init=False)
    output_count: int = 0
    input_sum: Floats = field(init=False)
    input_count: int = 0

    def __post_init__(self) -> None:
        groups, outputs, inputs = self.weights.shape
        self.output_sum = np.zeros((groups, outputs))
        self.input_sum = np.zeros((groups, inputs))

    @classmethod
    def of(cls, graph: Graph, plan: Plan, node: Node) -> _Layer | None:
        """The layer of a node with stored weights, None where `node` is no linear layer with a bias."""
        if node.op not in ("Conv", "Gemm") or node.inputs[1] not in plan.tensors or not node.input(2):
            return None
        if node.op == "Conv" and len(graph.shape(node.output)) != 4:
            return None
        constant = graph.constants[node.inputs[1]]
        groups = node.int("group", 1) if node.op == "Conv" else 1
        rows = np.moveaxis(constant, weight_axis(graph, node) or 0, 0)
        weights = rows.reshape(groups, len(rows) // groups, -1).astype(np.float64)
        bias = np.broadcast_to(graph.constants[node.inputs[2]].reshape(-1), (len(rows),))
        output = graph.shape(node.output)
        grid = (output[2], output[3]) if node.op == "Conv" else (1, 1)
        return cls(node, weights, constant.shape, bias.reshape(groups, -1).astype(np.float64), grid)

    @property
    def source(self) -> str:
        """The value it reads."""
        return self.node.inputs[0]

    def expect(self, values: Array, index: int) -> None:
        """Take the float network's input for image `index`."""
        patches = self._patches(values, index)
        self.output_sum += np.einsum("goi,gi->go", self.weights, patches.sum(axis=1, dtype=np.float64))
        self.output_count += patches.shape[1]

    def see(self, images: Any) -> None:
        """Take the int8 network's inputs."""
        numbered = enumerate(images)
        while seen := [self._patches(values, index) for index, values in islice(numbered, _CHUNK)]:
            patches = np.concatenate(seen, axis=1)
            self.input_sum += patches.sum(axis=1, dtype=np.float64)
            self.input_count += patches.shape[1]

    def corrected(self, plan: Plan) -> dict[str, Array]:
        """The new bias."""
        stored = plan.tensors[self.node.inputs[1]]
        scale = np.asarray(stored.scale).reshape(*self.bias.shape, 1)
        weights = np.clip(np.rint(self.weights / scale), *stored.limits) * scale
        expected = self.output_sum / self.output_count
        found = np.einsum("goi,gi->go", weights, self.input_sum / self.input_count)
        return {self.node.inputs[2]: (self.bias + expected - found).astype(np.float32).reshape(-1)}

    def _patches(self, values: Array, index: int) -> npt.NDArray[np.float32]:
        """What the layer multiplies its weights with, at some positions: float32 (groups, positions, inputs)."""
        if self.node.op == "Gemm":
            return values[np.newaxis]
        height, width = self.grid
        count = min(POSITIONS, height * width)
        positions = (np.arange(count) * height * width // count + 7 * index) % (height * width)
        kernel = self.node.ints("kernel_shape") or self.shape[2:]
        top, left, bottom, right = pads = self.node.ints("pads", (0, 0, 0, 0))
        padded = np.pad(values[0], ((0, 0), (top, bottom), (left, right))) if any(pads) else values[0]
        rows, columns = (
            (at * stride)[:, np.newaxis] + np.arange(size) * dilation
            for at, stride, size, dilation in zip(
                np.divmod(positions, width),
                self.node.ints("strides", (1, 1)),
                kernel,
                self.node.ints("dilations", (1, 1)),
                strict=True,
            )
        )
        windows = padded[:, rows[:, :, np.newaxis], columns[:, np.newaxis, :]]
        grouped = windows.reshape(self.weights.shape[0], -1, count, *kernel).swapaxes(1, 2)
        return np.ascontiguousarray(grouped.reshape(self.weights.shape[0], count, -1))


def _observe_float(piece: Graph, layers: Sequence[_Layer], end: str, feeds: Sequence[Array]) -> list[Array]:
    """Show `layers` the float network's values; return those at the piece's end."""
    sources = list(dict.fromkeys(layer.source for layer in layers if layer.source not in piece.inputs))
    session = onnx_session(to_onnx(piece, sources))
    ends = []
    for index, feed in enumerate(feeds):
        values = dict(zip([end, *sources], session.run([end, *sources], {piece.inputs[0]: feed}), strict=True))
        values[piece.inputs[0]] = feed
        for layer in layers:
            layer.expect(values[layer.source], index)
        ends.append(values[end])
    return ends


def _int8_session(graph: Graph, plan: Plan, start: str, end: str) -> Any:
    """A session that computes `end` from `start` as the int8 network does."""
    return onnx_session(emit_onnx(observing(extract(graph, [start], [end]), [end]), plan))


def _run(session: Any, feeds: Sequence[Array]) -> Any:
    """The session's only output for each feed."""
    name = session.get_inputs()[0].name
    return (session.run(None, {name: feed})[0] for feed in feeds)
