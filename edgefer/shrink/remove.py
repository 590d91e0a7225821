"""Which channels go for so many bytes: those whose worth is the least for each byte that they take."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Graph
from edgefer.graph.regions import Region, find_region, keep

_TOGETHER = 8
"""So many channels go at once, as kernels compute so many at once;"""

_LEAST_SHARE = 8
"""and of each region this part stays: one of so many."""

_FOR_EACH_OUTPUT = 8
"""Bytes beside its weights that an output channel takes: bias and scale."""


def stored_bytes(graph: Graph) -> int:
    """About what a graph's weights take in int8."""
    return sum(_bytes(graph, name) for name in graph.constants)


def without(graph: Graph, worths: Sequence[tuple[Region, npt.NDArray[np.float64]]], target: int) -> Graph:
    """The graph without the channels of least worth for their bytes, until its weights take `target` bytes.

    Args:
        graph: the network.
        worths: its regions, with what each channel is worth.
        target: by `stored_bytes`; what cannot be reached is come close to.
    """
    order = [np.argsort(worth, kind="stable") for _, worth in worths]
    gone, left, ticket = [0] * len(worths), stored_bytes(graph), count()
    queue: list[tuple[float, int, int]] = []

    def offer(index: int) -> None:
        region, worth = worths[index]
        following = order[index][gone[index] : gone[index] + _TOGETHER]
        least = max(region.channels // _LEAST_SHARE, _TOGETHER)
        if region.channels - gone[index] - len(following) >= least:
            heapq.heappush(queue, (worth[following].sum() / _saved(graph, region), next(ticket), index))

    for index in range(len(worths)):
        offer(index)
    while left > target and queue:
        _, _, index = heapq.heappop(queue)
        gone[index] += _TOGETHER
        left -= _TOGETHER * _saved(graph, worths[index][0])
        offer(index)
    for (region, _), ranked, count_gone in zip(worths, order, gone, strict=True):
        now = find_region(graph, region.values[0]) if count_gone else None
        if now is not None:
            graph = keep(graph, now, sorted(ranked[count_gone:].tolist()))
    return graph


def _saved(graph: Graph, region: Region) -> int:
    """Bytes that one channel of a region takes."""
    return sum(_bytes(graph, constant.name) for constant in region.constants) // region.channels


def _bytes(graph: Graph, name: str) -> int:
    array = graph.constants[name]
    if array.dtype.kind != "f":
        return 0
    return array.size if array.ndim > 1 else array.size * _FOR_EACH_OUTPUT
