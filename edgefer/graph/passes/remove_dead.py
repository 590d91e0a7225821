"""Drop nodes and constants that no graph output depends on."""

from __future__ import annotations

from dataclasses import replace

from edgefer.graph.ir import Graph


def remove_dead(graph: Graph) -> Graph:
    """A graph of only what its outputs need."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(value for value in node.inputs if value)
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    if len(kept) == len(graph.nodes) and len(constants) == len(graph.constants):
        return graph
    made = {value for node in kept for value in node.outputs}
    info = {
        name: entry for name, entry in graph.info.items() if name in constants or name in made or name in graph.inputs
    }
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants, info=info)
