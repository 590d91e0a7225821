"""Take operators that runtimes lack, or compute slowly, apart into those that they compute fast."""

from __future__ import annotations

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.decompositions import DECOMPOSITIONS
from edgefer.graph.passes.formula import Formula
from edgefer.graph.passes.rewrite import each_node


def decompose(graph: Graph) -> Graph:
    """A graph without the operators that `DECOMPOSITIONS` knows, but where one says why not by leaving it alone."""
    return each_node(graph, _decompose)


def _decompose(graph: Graph, node: Node) -> Graph:
    for decomposition in DECOMPOSITIONS.get(node.op, ()):
        at = Formula(graph, node)
        results = decomposition(at)
        if results is not None:
            return at.become(*results)
    return graph
