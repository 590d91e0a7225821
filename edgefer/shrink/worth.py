"""What the heads would lose for each channel, to first order.

A mask of ones stands before every reader of a region.  The derivative of the heads' values by a channel's entry of the
mask is what they change by, to first order, when the channel is taken away (Molchanov et al., CVPR 2019); its mean
square over images is the channel's worth.  Random signs add up the heads' values, so that one derivative is enough:
in the mean, the square of such a sum is the sum of the squares (Hutchinson's estimator).

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import substitute
from edgefer.graph.regions import Region, find_regions
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import Tensor, TorchGraph, torch

_BATCH_PIXELS = 16 * 64 * 64


def worths(graph: Graph, heads: Sequence[str], images: Sequence[Array]) -> list[tuple[Region, npt.NDArray[np.float64]]]:
    """Every region whose channels can go, with the worth of each: noise over signal at the heads, to first order.

    Args:
        graph: the network.
        heads: values that count, each (1, columns).
        images: as the graph's input takes them, uint8 (1, H, W, 3).

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    graph = extract(graph, graph.inputs, tuple(heads))
    regions = find_regions(graph)
    masked, masks = _masked(graph, regions)
    network, random = TorchGraph(masked), torch.Generator().manual_seed(0)
    height, width = images[0].shape[1:3]
    size = max(_BATCH_PIXELS // (height * width), 1)
    totals = [np.zeros(region.channels) for region in regions]
    for start in range(0, len(images), size):
        batch = torch.from_numpy(np.concatenate(images[start : start + size])).float()
        ones = [torch.ones(len(batch), region.channels, requires_grad=True) for region in regions]
        given = {name: _of_rank(ones[index], rank) for name, (index, rank) in masks.items()}
        with torch.enable_grad():
            found = network(batch, heads, given)
            _signed_sum(found, random).backward()
        for total, mask in zip(totals, ones, strict=True):
            total += mask.grad.square().sum(0).double().numpy() / len(images)
    return list(zip(regions, totals, strict=True))


def _signed_sum(heads: Sequence[Tensor], random: Tensor) -> Tensor:
    """The heads' values, each head over its root mean square and centred, added up with random signs."""
    total = 0.0
    for values in heads:
        centred = values - values.mean(0, keepdim=True).detach()
        signs = torch.randint(0, 2, values.shape, generator=random) * 2.0 - 1
        total = total + (signs * values).sum() / centred.detach().square().sum(1).mean().sqrt().clamp_min(1e-6)
    return total


def _of_rank(mask: Tensor, rank: int) -> Tensor:
    return mask.reshape(*mask.shape, *([1] * (rank - 2)))


def _masked(graph: Graph, regions: Sequence[Region]) -> tuple[Graph, dict[str, tuple[int, int]]]:
    """The graph with a mask before each reader of each region; the number of the region, and the rank, by mask."""
    masks: dict[str, tuple[int, int]] = {}
    for index, region in enumerate(regions):
        for node in region.readers:
            reader = graph.named[node.name]
            value, rank = reader.inputs[0], len(graph.shape(reader.inputs[0]))
            mask, product = fresh_name(graph, f"{node.name}/mask"), fresh_name(graph, f"{node.name}/masked")
            halves = np.full((1, region.channels, *([1] * (rank - 2))), 0.5, np.float32)  # ones are an identity
            multiply = Node(product, "Mul", (value, mask), (product,))
            reading = replace(reader, inputs=(product, *reader.inputs[1:]))
            graph = substitute(graph, {reader.name: [multiply, reading]}, {mask: halves}, {product: graph.info[value]})
            masks[mask] = index, rank
    return graph, masks
