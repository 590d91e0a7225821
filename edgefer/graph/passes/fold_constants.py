"""Compute once, at conversion, what does not depend on the input."""

from __future__ import annotations

from edgefer.graph.fold import fold
from edgefer.graph.ir import Array, Graph


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes whose inputs are all constant, and shape queries, by their results."""
    constants: dict[str, Array] = dict(graph.constants)
    folded: dict[str, Array] = {}
    kept = []
    for node in graph.nodes:
        is_read = any(value in graph.outputs for value in node.outputs)
        outputs = {value: graph.info[value] for value in node.outputs if value}
        results = None if is_read else fold(node, graph.info, outputs, constants)
        if results is None:
            kept.append(node)
        else:
            constants.update(results)
            folded.update(results)
    return graph.with_constants(folded).with_nodes(kept) if folded else graph
