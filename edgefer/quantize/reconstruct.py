"""Weights and biases that make each layer's int8 output match its float output on the calibration images.

For a linear layer y = W x + b, whose int8 version reads the quantized network's own x', this minimises
E |y - (W' x' + b')|^2 over integer W' (with the Plan's scales) and over b':

- b' takes up the mean of the error (empirical bias correction: Nagel et al., 2019, arXiv:1906.04721);
- W' is rounded one input at a time, in order of falling input power, each rounding error being made up for
  by the inputs that are not rounded yet (OPTQ: Frantar et al., 2022, arXiv:2210.17323), with the covariance
  of x' as the measure of what matters.

Layers are treated in network order, so that each makes up for the errors of all before it.  The network runs
piecewise between its cut points, and only sampled positions of feature maps are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.ir import Array, Graph, Node, TensorInfo
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import cut_points, extract, observing
from edgefer.plan import Plan
from edgefer.quantize.operators import weight_axis
from edgefer.runtime import onnx_session

POSITIONS = 32
"""Positions sampled from each feature map of each image."""

_DAMPING = 0.01  # of the mean input power, added to the covariance's diagonal
_BLOCK = 64  # inputs rounded before the others are told

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]


def reconstruct(
    graph: Graph, plan: Plan, feeds: Sequence[Array], advance: Callable[[], None] = lambda: None
) -> Graph:
    """`graph` with weights on the Plan's integer grid, and biases, that reproduce its outputs best.

    Args:
        graph: the float network.
        plan: decides scales; they stay as they are.
        feeds: calibration inputs of the graph.
        advance: called after each piece of the network, `pieces(graph)` times.
    """
    current = graph
    exact: Sequence[Array] = feeds
    quantized: Sequence[Array] = feeds
    edges = (graph.inputs[0], *cut_points(graph), *graph.outputs[:1])
    for start, end in zip(edges, edges[1:], strict=False):
        piece = extract(graph, [start], [end])
        layers = [layer for node in piece.nodes if (layer := _layer(graph, plan, node)) is not None]
        targets = _run(to_onnx(piece, [layer.node.inputs[0] for layer in layers]), exact)
        for layer in layers:
            current = _refit(layer, current, plan, start, quantized, targets[layer.node.inputs[0]])
        exact = targets[end]
        quantized = _observe(current, plan, start, end, quantized)
        advance()
    return current


def pieces(graph: Graph) -> int:
    """How many pieces `reconstruct` goes through."""
    return len(cut_points(graph)) + 1
