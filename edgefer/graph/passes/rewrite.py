"""What passes have in common: taking a node out, putting others in its place, keeping values tidy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgefer.graph.ir import Array, Graph, Node, TensorInfo


def each_node(graph: Graph, rewrite: Callable[[Graph, Node], Graph]) -> Graph:
    """Apply `rewrite` to every node in turn, as it is by then; nodes that earlier rewrites dropped are left out."""
    for name in [node.name for node in graph.nodes]:
        if name in graph.named:
            graph = rewrite(graph, graph.named[name])
    return graph


def bypass(graph: Graph, node: Node, source: str) -> Graph:
    """Drop `node`, whose first output equals `source`: its readers read `source` instead.

    A graph output keeps its name: `source` takes it over, or, where that cannot be, the node stays.
    """
    old = node.output
    if old not in graph.outputs:
        names = {old: source}
    elif source in graph.producers and source not in graph.outputs:
        names = {source: old}
    else:
        return graph
    return graph.with_nodes(
        replace(
            other,
            inputs=tuple(names.get(value, value) for value in other.inputs),
            outputs=tuple(names.get(value, value) for value in other.outputs),
        )
        for other in graph.nodes
        if other.name != node.name
    )


def substitute(
    graph: Graph,
    replacements: Mapping[str, Sequence[Node]],
    constants: Mapping[str, Array] | None = None,
    info: Mapping[str, TensorInfo] | None = None,
) -> Graph:
    """Put the nodes stated in the place of each node named, with the new `constants` and `info` they need."""
    if not replacements:
        return graph
    nodes = [new for node in graph.nodes for new in replacements.get(node.name, (node,))]
    return graph.with_constants(constants or {}).with_nodes(nodes, info)


def scalar_constant(graph: Graph, value: str) -> float | None:
    """The number that `value` holds in all its elements, None when it is no such constant."""
    array = graph.constants.get(value)
    if array is None or array.size == 0 or not np.all(array == array.flat[0]):
        return None
    return float(array.flat[0])


def by_channel(array: Array, shape: tuple[int, ...], axis: int) -> Array | None:
    """A constant operand as a number for each channel along `axis` of the result; None where it is something else."""
    if array.ndim > len(shape) or array.dtype != np.float32:
        return None
    whole = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    is_by_channel = all(size == 1 for index, size in enumerate(whole.shape) if index != axis)
    return np.broadcast_to(whole.reshape(-1), shape[axis : axis + 1]) if is_by_channel else None
