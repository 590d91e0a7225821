"""PReLUs with slopes for which integers and float give the same answer.

Where x and prelu(x) are stored alike, prelu(x) = x + (1 - slope) * max(-x, 0), and of these two terms only the second
is rounded.  With 1 - slope a whole number of 255ths, which is odd, none of its values lies near a tie: what float makes
of integers, and what a product and a sum of integers come to, is the same to the bit.
"""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Array, Graph, Node

FRACTIONS = 255


def with_whole_slopes(graph: Graph) -> Graph:
    """The graph with all slopes between 0 and 1 the nearest for which that holds."""
    names = {node.inputs[1] for node in graph.nodes if node.op == "PRelu"} & graph.constants.keys()
    slopes = {
        name: graph.constants[name] for name in names if all(reader.op == "PRelu" for reader in graph.consumers[name])
    }
    return graph.with_constants(
        {
            name: (1 - np.rint((1 - each) * FRACTIONS) / FRACTIONS).astype(np.float32)
            for name, each in sorted(slopes.items())
            if each.min() >= 0 and each.max() <= 1
        }
    )


def fractions(graph: Graph, node: Node) -> Array | None:
    """1 - slope of a PReLU in 255ths, uint8 in the slope's shape; None where `node` is none, or they are not whole."""
    slopes = graph.constants.get(node.inputs[1]) if node.op == "PRelu" else None
    if slopes is None:
        return None
    steps = (1 - slopes.astype(np.float64)) * FRACTIONS
    whole = np.rint(steps)
    is_whole = np.abs(steps - whole).max() < 1e-4 and whole.min() >= 0 and whole.max() <= FRACTIONS
    return whole.astype(np.uint8) if is_whole else None
