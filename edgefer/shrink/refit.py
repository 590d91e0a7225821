"""What is known of groups of channels without gradients: what they add to what reads them, and how others replace them.

Importing this module needs nothing but NumPy, and so it serves where PyTorch is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgefer.graph.groups import Chosen, Groups, find_groups, weights_axis, with_bias, without
from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.labelling import Reader
from edgefer.quantize.observe.guesses import channel_samples, guessed
from edgefer.quantize.scales.ranges import Values

Samples = Mapping[str, Array]
"""What readers of groups read, float16 (channels, samples)."""


def observed(groups: Groups, feeds: Sequence[Feed]) -> Samples:
    """What is read of the groups."""
    return channel_samples(groups.graph, [_value(groups, reader) for reader in _fitted(groups)], feeds)


def shares(groups: Groups, seen: Samples) -> Values:
    """What each group adds to the variance of a layer that reads it, of all that is added: where it adds most."""
    found = np.zeros(groups.count + 1)
    for reader in _fitted(groups):
        weights = groups.graph.constants[groups.graph.named[reader.node].inputs[1]].astype(np.float64)
        axis = weights_axis(groups.graph, reader)
        others = tuple(other for other in range(weights.ndim) if other != axis)
        added = seen[_value(groups, reader)].var(axis=1, dtype=np.float64) * np.square(weights).sum(axis=others)
        share = np.zeros_like(found)
        np.add.at(share, reader.labels, added / max(float(added.sum()), 1e-30))
        found = np.maximum(found, share)
    return found[:-1]


def refitted(groups: Groups, gone: Chosen, seen: Samples) -> Graph:
    """The graph without some groups, whose readers guess what is gone from what is left, by least squares."""
    graph = groups.graph
    for reader in _fitted(groups):
        lost = groups.found_in(reader.labels, gone)
        if not lost.any():
            continue
        node, axis = graph.named[reader.node], weights_axis(graph, reader)
        assert axis is not None
        weights = graph.constants[node.inputs[1]]
        last = np.moveaxis(weights, axis, -1).astype(np.float64)
        kept, gone_here = np.flatnonzero(~lost), np.flatnonzero(lost)
        rows = last[..., lost].reshape(-1, len(gone_here))
        found, shifts = guessed(seen[_value(groups, reader)], rows, kept, gone_here)
        last[..., kept] += found.reshape(*last.shape[:-1], len(kept))
        fitted = np.ascontiguousarray(np.moveaxis(last, -1, axis)).astype(weights.dtype)
        graph = with_bias(
            graph.with_constants({node.inputs[1]: fitted}), node, shifts.reshape(len(last), -1).sum(axis=1)
        )
    return without(find_groups(graph), gone)


def _fitted(groups: Groups) -> list[Reader]:
    """The readers that have weights of their own, and a place for a constant."""
    graph = groups.graph
    return [
        reader
        for reader in groups.readers
        if graph.named[reader.node].op in ("Conv", "Gemm")
        and len(graph.consumers[graph.named[reader.node].inputs[1]]) == 1
    ]


def _value(groups: Groups, reader: Reader) -> str:
    return groups.graph.named[reader.node].inputs[reader.index]
