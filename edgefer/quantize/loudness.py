"""How loud each channel is: the largest magnitude that it takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import extract
from edgefer.quantize.ranges import Values
from edgefer.runtime import onnx_session


def loudness(graph: Graph, names: Sequence[str], feeds: Sequence[Array]) -> dict[str, Values]:
    """The largest magnitude of each channel (axis 1) of each value, over all feeds of the graph's only input."""
    found = {name: np.zeros(graph.shape(name)[1]) for name in names}
    if names:
        session = onnx_session(to_onnx(extract(graph, graph.inputs, names)))
        for feed in feeds:
            for name, values in zip(names, session.run(list(names), {graph.inputs[0]: feed}), strict=True):
                others = tuple(axis for axis in range(values.ndim) if axis != 1)
                np.maximum(found[name], np.abs(values).max(axis=others), out=found[name])
    return found
