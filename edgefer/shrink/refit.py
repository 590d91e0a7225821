"""What is known of groups of channels without gradients: what they add to what reads them, and how others replace them.

Importing this module needs nothing but NumPy, and so it serves where PyTorch is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgefer.graph.groups import Chosen, Groups, find_groups, weights_axis, with_bias, without
from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.labelling import Reader
from edgefer.quantize.observe import guesses
from edgefer.quantize.scales.ranges import Values

Samples = Mapping[str, Array]
"""What readers of groups read, float16 (channels, samples)."""


def observed(groups: Groups, feeds: Sequence[Feed]) -> Samples:
    """What is read of the groups."""
    return guesses.channel_samples(groups.graph, [_value(groups, reader) for reader in _fitted(groups)], feeds)


def shares(groups: Groups, seen: Samples) -> Values:
    """What each group adds to the variance of a layer that reads it, of all that is added: where it adds most."""
    found = np.zeros(groups.count + 1)
    for reader in _fitted(groups):
        weights = groups.graph.constants[groups.graph.named[reader.node].inputs[1]]
        axis = weights_axis(groups.graph, reader)
        assert axis is not None
        share = np.zeros_like(found)
        np.add.at(share, reader.labels, guesses.shares(seen[_value(groups, reader)], weights, axis))
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
        samples, weights = seen[_value(groups, reader)], graph.constants[node.inputs[1]]
        fitted, shifts = guesses.refitted(samples, weights, axis, np.flatnonzero(~lost), np.flatnonzero(lost))
        graph = with_bias(graph.with_constants({node.inputs[1]: fitted}), node, shifts)
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
