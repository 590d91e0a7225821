"""Cross-layer equalisation: channels of like ranges, by factors that layers hand to each other exactly.

Where activations are positively homogeneous, f(s x) = s f(x) for s > 0, as ReLU, LeakyReLU and PReLU are, or where
there are none, the convolutions that make a channel can take a factor that the convolutions that read it take back
(Nagel et al., 2019, arXiv:1906.04721).  It costs nothing in the artifacts.  The scale and bias of a LayerNormalization
take a factor likewise (Xiao et al., SmoothQuant, 2023, arXiv:2211.10438): transformers have a few channels there that
are many times as loud as the others.

Behind a ReLU6, channels would need a limit each, which no kernel has.  But most never come near theirs: such a channel
can grow until the loudest images come near it.  What is louder still, the range of int8 would cut off as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np

from edgefer.graph.ir import Feed, Graph
from edgefer.graph.norm_regions import find_norm_regions
from edgefer.graph.regions import Region, find_regions, scale
from edgefer.plan import QuantParams
from edgefer.quantize.observe.loudness import loudness
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import weight_axis
from edgefer.quantize.scales.ranges import Values, identity, per_channel_symmetric

NEGLIGIBLE = 0.01
"""The share of what plain int8 adds that is not worth lowering."""

WORTHWHILE = 0.9
"""Channels are scaled where at most so much of the noise is left: what changes less may be chance."""

_QUIETEST = 2.0**-8  # of the loudest: what is quieter counts as this loud

_ROOM = 1.25  # how many times as loud as on any image channels that grow may become
_LARGEST_GROWTH = 16.0  # where there is a limit: rare channels are not cut off for nothing


def equalise_layers(
    graph: Graph, feeds: Sequence[Feed], sensitivity: Sensitivity, plainly: Callable[[], float]
) -> Graph:
    """The graph with channels scaled where that lowers the noise of storing them; its outputs stay what they were.

    Args:
        graph: the float network.
        feeds: calibration inputs, which tell how far channels stay below a limit.
        sensitivity: measures the noise of storing a region's activations and what reads them.
        plainly: tells the noise over signal at the heads that int8 adds without any of this, which may take a while.
    """
    regions = (*find_regions(graph, "scale"), *find_norm_regions(graph))
    if not regions:
        return graph
    limited = [value for region in regions if region.limit < inf for value in region.values]
    most = loudness(graph, limited, feeds) if limited else {}
    params = sensitivity.stored_alone(graph, {value: identity for region in regions for value in region.values})
    negligible = NEGLIGIBLE * plainly()
    for region in regions:
        values = {value: params[value] for value in region.values}
        before = sensitivity.noise_of(graph, values | _weight_params(graph, region), negligible)
        if before < negligible:
            continue
        candidates = [scale(graph, region, factors) for factors in _factors(graph, region, most, sensitivity)]
        noises = [_noise(candidate, region, sensitivity) for candidate in candidates]
        best = int(np.argmin(noises))
        if noises[best] <= WORTHWHILE * before:
            graph = candidates[best]
    return graph


def _factors(graph: Graph, region: Region, most: Mapping[str, Values], sensitivity: Sensitivity) -> list[Values]:
    """Factors that make activations even, and that make them and the weights that read them equally uneven.

    Where there is a limit, those that bring the channels up to it that are below it on all images.
    """
    if region.limit < inf:
        largest = np.max([most[value] for value in region.values], axis=0)
        grown = region.limit / np.maximum(largest * _ROOM, region.limit / _LARGEST_GROWTH)
        return [np.where(largest > 0, np.maximum(grown, 1.0), 1.0)]
    part = sensitivity.part(graph, region.values)
    found = loudness(part.graph, region.values, part.feeds, region.axis)
    loud = _evenness(np.max([values / (values.max() or 1.0) for values in found.values()], axis=0))
    weights = _evenness(_weights_reading(graph, region))
    return [_typical_one(1 / loud), _typical_one(np.sqrt(weights / loud))]


def _evenness(magnitudes: Values) -> Values:
    largest = float(magnitudes.max()) or 1.0
    return np.maximum(magnitudes / largest, _QUIETEST)


def _typical_one(factors: Values) -> Values:
    scaled: Values = factors / np.median(factors)
    return scaled


def _weights_reading(graph: Graph, region: Region) -> Values:
    """The largest weight that reads each channel, relative to the largest of its output channel."""
    largest = np.zeros(region.channels)
    for node in region.readers:
        weights = np.abs(np.moveaxis(graph.constants[node.inputs[1]], weight_axis(graph, node) or 0, 0))
        relative = weights / np.maximum(weights.max(axis=tuple(range(1, weights.ndim)), keepdims=True), 1e-12)
        if node.int("group", 1) == 1:
            np.maximum(largest, relative.swapaxes(0, 1).reshape(region.channels, -1).max(axis=1), out=largest)
    return largest if largest.any() else np.ones(region.channels)


def _noise(graph: Graph, region: Region, sensitivity: Sensitivity) -> float:
    """The noise of storing the region's values, and the weights of what reads them."""
    stored = sensitivity.stored_alone(graph, dict.fromkeys(region.values, identity))
    return sensitivity.noise_of(graph, stored | _weight_params(graph, region))


def _weight_params(graph: Graph, region: Region) -> dict[str, QuantParams]:
    """How the weights of the region's readers are stored."""
    found = {}
    for node in region.readers:
        weights, axis = graph.constants[node.inputs[1]], weight_axis(graph, node) or 0
        found[node.inputs[1]] = per_channel_symmetric(weights, axis, floor=np.zeros(weights.shape[axis]))
    return found
