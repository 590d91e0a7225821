"""What it costs to treat an activation, so that all treatments are judged alike."""

from __future__ import annotations

from math import prod

from edgefer.graph.ir import Graph

WORTH = 4.2e-3
"""Noise over signal at the heads that is worth one more pass over all feature maps by an elementwise kernel."""


def price(graph: Graph, passes: float) -> float:
    """Noise over signal at the heads that treating something must take away.

    Args:
        graph: the network.
        passes: elements that go once more through an elementwise kernel, or what takes as long.
    """
    elements = sum(prod(graph.shape(node.output)) for node in graph.nodes if node.op == "Conv")
    return WORTH * passes / elements
