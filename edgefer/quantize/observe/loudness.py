"""How loud each channel is: the largest magnitude that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgefer.graph.ir import Array, Graph
from edgefer.quantize.observe.per_image import observe
from edgefer.quantize.scales.ranges import Values


def loudness(graph: Graph, names: Sequence[str], feeds: Iterable[Array]) -> dict[str, Values]:
    """The largest magnitude of each channel (axis 1) of each value, over all feeds of the graph's only input."""
    found = {name: np.zeros(graph.shape(name)[1]) for name in names}

    def largest(observed: list[Array], images: int) -> list[Array]:
        return [np.abs(values).max(axis=tuple(axis for axis in range(values.ndim) if axis != 1)) for values in observed]

    for magnitudes in observe(graph, names, feeds, largest):
        for name, some in zip(names, magnitudes, strict=True):
            np.maximum(found[name], some, out=found[name])
    return found
