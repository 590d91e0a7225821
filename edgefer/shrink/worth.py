"""What the heads would lose for each group of channels, to first order.

A mask of ones stands wherever groups are read.  The derivative of the heads' values by a group's entry of the mask is
what they change by, to first order, when the group is taken away (Molchanov et al., CVPR 2019); its mean square over
images is the group's worth.  Random signs add up the heads' values, so that one derivative is enough: in the mean, the
square of such a sum is the sum of the squares (Hutchinson's estimator).

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgefer.graph.groups import Groups
from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.passes.rewrite import substitute
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import Tensor, TorchGraph, torch
from edgefer.host.memory import holding
from edgefer.quantize.scales.ranges import Values

_BATCH_PIXELS = 16 * 64 * 64


def worths(groups: Groups, heads: Sequence[str], images: Sequence[Array]) -> Values:
    """The worth of each group: noise over signal at the heads without it, to first order; infinite if none reads it.

    Args:
        groups: of the network.
        heads: values that count, each (1, columns).
        images: as the graph's input takes them, uint8 (1, H, W, 3).

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    masked, masks = _masked(groups, heads)
    if not masks:
        return np.full(groups.count, np.inf)
    network, random = TorchGraph(masked), torch.Generator().manual_seed(0)
    height, width = images[0].shape[1:3]
    size = max(_BATCH_PIXELS // (height * width), 1)
    total = np.zeros(groups.count + 1)
    with torch.enable_grad(), holding():
        for start in range(0, len(images), size):
            batch = torch.from_numpy(np.concatenate(images[start : start + size])).float()
            ones = torch.ones(len(batch), groups.count + 1, requires_grad=True)  # the last is of what is in no group
            given = {name: ones[:, labels].reshape(len(batch), *shape[1:]) for name, (labels, shape) in masks.items()}
            _signed_sum(network(batch, heads, given), random).backward()
            total += ones.grad.square().sum(0).double().numpy() / len(images)
    reached = np.zeros(groups.count + 1, bool)
    reached[np.concatenate([np.zeros(0, np.int64), *(labels for labels, _ in masks.values())])] = True
    worth: Values = np.where(reached, total, np.inf)[:-1]
    return worth


def _signed_sum(heads: Sequence[Tensor], random: Tensor) -> Tensor:
    """The heads' values, each head over its root mean square and centred, added up with random signs."""
    total = 0.0
    for values in heads:
        centred = values - values.mean(0, keepdim=True).detach()
        signs = torch.randint(0, 2, values.shape, generator=random) * 2.0 - 1
        total = total + (signs * values).sum() / centred.detach().square().sum(1).mean().sqrt().clamp_min(1e-6)
    return total


def _masked(groups: Groups, heads: Sequence[str]) -> tuple[Graph, dict[str, tuple[Array, tuple[int, ...]]]]:
    """What computes the heads, with a mask before each reader; by mask its entries' groups, and its shape."""
    graph = extract(groups.graph, groups.graph.inputs, tuple(heads))
    masks: dict[str, tuple[Array, tuple[int, ...]]] = {}
    for found in groups.readers:
        reader = graph.named.get(found.node)
        if reader is None:
            continue
        value = reader.inputs[found.index]
        shape = tuple(size if axis == found.axis else 1 for axis, size in enumerate(graph.shape(value)))
        mask, product = fresh_name(graph, f"{reader.name}/mask"), fresh_name(graph, f"{reader.name}/masked")
        halves = np.full(shape, 0.5, np.float32)  # ones are an identity
        multiply = Node(product, "Mul", (value, mask), (product,))
        inputs = tuple(product if index == found.index else name for index, name in enumerate(reader.inputs))
        reading = replace(reader, inputs=inputs)
        graph = substitute(graph, {reader.name: [multiply, reading]}, {mask: halves}, {product: graph.info[value]})
        masks[mask] = found.labels, shape
    return graph, masks
