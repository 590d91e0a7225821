"""Weights that are equal become one constant again: exporters, and folding batch norms, copy those of shared layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.rewrite import substitute

_LAYERS = frozenset(["Conv", "ConvTranspose", "Gemm"])
WORTH_TYING = 1 << 12
"""Numbers; layers that share fewer are better treated each by itself."""


def tie_weights(graph: Graph) -> Graph:
    """A graph in which layers with equal weights, of a size worth storing once, read the same constant."""
    known: dict[tuple[str, int, tuple[int, ...]], list[str]] = {}
    tied: dict[str, list[Node]] = {}
    for node in graph.nodes:
        weights = graph.constants.get(node.input(1)) if node.op in _LAYERS else None
        if weights is None or weights.size < WORTH_TYING:
            continue
        alike = known.setdefault((node.op, node.int("transB"), weights.shape), [])
        name = next((each for each in alike if np.array_equal(graph.constants[each], weights)), "")
        if not name:
            alike.append(node.inputs[1])
        elif name != node.inputs[1]:
            tied[node.name] = [replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))]
    return substitute(graph, tied)
