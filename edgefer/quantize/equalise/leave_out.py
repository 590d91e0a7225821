r"""Channels that hardly matter are left out: a layer makes fewer, and what reads them does with those that are left.

    y = W x + b    becomes    y = (W_k + W_g P) x_k + b'    with    P = C_gk C_kk^-1

for the channels k that are kept and g that are gone, whose covariance over calibration images is C: each channel that
is gone is replaced by its best linear guess from the others, and its mean goes into the bias (structured pruning by
reconstruction; He et al., 2017, arXiv:1707.06168).  A network that is larger than its task has many such channels.
What they add to the variance of the layers that read them puts them in order; how many are left out is settled by the
noise at the heads, measured, against the time that it saves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph, Node
from edgefer.graph.regions import Region, find_region, find_regions, keep
from edgefer.quantize.costs.cost import TILE, Work
from edgefer.quantize.costs.prices import Prices, node_works
from edgefer.quantize.observe.guesses import channel_samples, refitted, shares
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import weight_axis
from edgefer.quantize.scales.unstorable import must_keep_sign

_TRIES = 3
"""At most so many numbers of channels are measured in each place."""

_HEARD = 0.003
"""Of the noise in a layer's output, relative to its signal, this much is expected at the heads until it is measured."""


@dataclass(frozen=True)
class Losable:
    """A network and its channels that may be left out, however many of them are.

    Attributes:
        graph: the float network.
        producers: names of nodes, in network order, each the first that makes such channels.
        samples: of what layers read of them, by name.
        sensitivity: measures the noise of leaving them out.
    """

    graph: Graph
    producers: tuple[str, ...]
    samples: Mapping[str, Array]
    sensitivity: Sensitivity


def losable(graph: Graph, feeds: Sequence[Feed], sensitivity: Sensitivity) -> Losable:
    """What may be left out of a network.

    Args:
        graph: the float network.
        feeds: calibration inputs, others than those of `sensitivity`, which would flatter what was fitted on them.
        sensitivity: measures the noise of leaving channels out.
    """
    regions = [region for region in find_regions(graph) if _can_lose_channels(graph, region)]
    samples = channel_samples(graph, [node.inputs[0] for region in regions for node in region.readers], feeds)
    return Losable(graph, tuple(region.producers[0].name for region in regions), samples, sensitivity)


def leave_out(channels: Losable, prices: Prices, most: float = inf) -> Graph:
    """The graph without the channels that are not worth computing; its outputs are nearly what they were.

    Args:
        channels: of the float network.
        prices: what leaving them out saves.
        most: the noise over signal at the heads that all of it may add.
    """
    graph, noise = channels.graph, 0.0
    for producer in channels.producers:
        region = find_region(graph, graph.named[producer].output)
        assert region is not None
        graph, noise = _thinned(graph, region, channels, prices, noise, most)
    return graph


def _can_lose_channels(graph: Graph, region: Region) -> bool:
    return (
        region.channels > TILE
        and bool(region.readers)
        and all(
            node.input(2)
            and len(graph.consumers[node.inputs[2]]) == 1
            and node.inputs[0] in region.values
            and not must_keep_sign(graph, node)
            for node in region.readers
        )
    )


def _thinned(
    graph: Graph,
    region: Region,
    channels: Losable,
    prices: Prices,
    before: float,
    most: float,
) -> tuple[Graph, float]:
    """The graph with as few of a region's channels as pay, and the noise at the heads that was `before`."""
    samples = channels.samples
    read = [(samples[node.inputs[0]], graph.constants[node.inputs[1]], _axis(graph, node)) for node in region.readers]
    largest = np.max([shares(*each) for each in read], axis=0)
    order = np.argsort(largest, kind="stable")
    lost = np.concatenate([[0.0], np.cumsum(largest[order])])
    counts = range(region.channels % TILE or TILE, region.channels - TILE + 1, TILE)
    made = node_works(graph, (*region.producers, *region.inside))
    read_by = node_works(graph, region.readers)
    saved = {count: _saved(made, read_by, region.channels, count, prices) for count in counts}
    best, least, gain, heard = graph, before, 0.0, _HEARD
    tried: set[int] = set()
    while len(tried) < _TRIES:
        count = max(saved, key=lambda count: saved[count] - heard * lost[count])
        if count in tried or saved[count] <= heard * lost[count]:
            break
        tried.add(count)
        candidate = _without(graph, region, order[:count], samples)
        noise = channels.sensitivity.noise_of(candidate, {}, changed=region.values)
        added = max(noise - before, 0.0)
        if noise <= most and saved[count] - added > gain:
            best, least, gain = candidate, noise, saved[count] - added
        heard = added / max(lost[count], 1e-30)
    return best, least


def _axis(graph: Graph, node: Node) -> int:
    """The axis of a layer's weights that the channels which it reads lie along."""
    return 1 - (weight_axis(graph, node) or 0)


def _saved(made: Sequence[Work], read: Sequence[Work], channels: int, count: int, prices: Prices) -> float:
    """What leaving out so many channels is worth to what makes them and to what reads them."""
    left = channels - count
    fewer = [each._replace(channels=left) if each.channels == channels else each for each in made]
    lighter = [each._replace(macs=each.macs * left / channels) for each in read]
    return -prices.of([*made, *read], [*fewer, *lighter])


def _without(graph: Graph, region: Region, gone: Array, samples: Mapping[str, Array]) -> Graph:
    """The graph without some of a region's channels, which what reads them guesses from those that are left."""
    kept = np.setdiff1d(np.arange(region.channels), gone)
    constants: dict[str, Array] = {}
    for node in region.readers:
        weights, bias = (graph.constants[name] for name in node.inputs[1:])
        fitted, shifts = refitted(samples[node.inputs[0]], weights, _axis(graph, node), kept, gone)
        constants |= {node.inputs[1]: fitted, node.inputs[2]: (bias + shifts).astype(bias.dtype)}
    return keep(graph.with_constants(constants), region, [int(channel) for channel in kept])
