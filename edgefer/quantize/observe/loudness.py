"""How loud each channel is: the largest magnitude that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph
from edgefer.quantize.observe.per_image import observe
from edgefer.quantize.scales.ranges import Values


def loudness(graph: Graph, names: Sequence[str], feeds: Iterable[Feed], axis: int = 1) -> dict[str, Values]:
    """The largest magnitude of each channel (along `axis`) of each value, over all of the graph's feeds."""
    found = {name: np.zeros(graph.shape(name)[axis]) for name in names}

    def largest(observed: list[Array], images: int) -> list[Array]:
        return [np.abs(np.moveaxis(values, axis, 0)).reshape(values.shape[axis], -1).max(1) for values in observed]

    for magnitudes in observe(graph, names, feeds, largest):
        for name, some in zip(names, magnitudes, strict=True):
            np.maximum(found[name], some, out=found[name])
    return found
