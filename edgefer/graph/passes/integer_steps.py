"""Activations that runtimes compute in float, said by sums, products and limits, for which all have integer kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.canonicalise import FUSING, fuse_activations
from edgefer.graph.passes.formula import Formula, Term
from edgefer.graph.passes.rewrite import each_node


def in_integer_steps(graph: Graph) -> Graph:
    """A graph without HardSwish, PRelu and LeakyRelu; `normalise` would find them again."""
    return fuse_activations(each_node(graph, _in_steps), FUSING | {"Mul"})


def _in_steps(graph: Graph, node: Node) -> Graph:
    at = Formula(graph, node)
    result = _STEPS[node.op](at) if node.op in _STEPS else None
    return graph if result is None else at.become(result)


def _hard_swish(at: Formula) -> Term:
    """X * clip(x + 3, 0, 6) / 6."""
    x = at.input(0)
    return x * (x + 3.0).to("Clip", 0.0, 6.0) * (1 / 6)


def _prelu(at: Formula) -> Term | None:
    """X + (1 - slope) * max(-x, 0)."""
    stated = np.asarray(at.node.float("alpha", 0.01)) if at.node.op == "LeakyRelu" else at.constant(1)
    if stated is None:
        return None
    x, rest = at.input(0), (1 - stated).astype(np.float32)
    return x + ((x * -rest).to("Relu") if rest.min() >= 0 else (x * -1.0).to("Relu") * rest)


_STEPS: Mapping[str, Callable[[Formula], Term | None]] = {
    "HardSwish": _hard_swish,
    "LeakyRelu": _prelu,
    "PRelu": _prelu,
}
