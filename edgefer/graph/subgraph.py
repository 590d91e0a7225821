"""Parts of a graph: what computes some values from others, and where a graph can be cut in two."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from edgefer.graph.ir import Graph, Node


def extract(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
    """The part of `graph` that computes `outputs` from `inputs` and constants."""
    needed = set(outputs) - set(inputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(value for value in node.inputs if value not in inputs)
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    return replace(
        graph, nodes=tuple(reversed(kept)), inputs=tuple(inputs), outputs=tuple(outputs), constants=constants
    )


def between(graph: Graph, inputs: Collection[str], outputs: Collection[str]) -> frozenset[str]:
    """Names of the nodes through which `outputs` depend on `inputs`."""
    reached, ways = set(inputs), []
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
            ways.append(node)
    needed, found = set(outputs), set()
    for node in reversed(ways):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            found.add(node.name)
    return frozenset(found)


def observing(graph: Graph, values: Sequence[str]) -> Graph:
    """`graph` returning each of `values` as its readers see it, as outputs `observed/VALUE`.

    In an int8 model that is the value after it was quantized, and kernels stay what they were.
    """
    nodes = [Node(f"observed/{value}", "Identity", (value,), (f"observed/{value}",)) for value in values]
    info = {f"observed/{value}": graph.info[value] for value in values}
    outputs = tuple(info)
    return replace(graph.with_nodes((*graph.nodes, *nodes), info), outputs=outputs)


def cut_points(graph: Graph) -> tuple[str, ...]:
    """The values through which everything flows, in order: all that follows depends on that value alone.

    Inputs behind the first are fed at every step, wherever they are read, and flow through nothing.
    """
    last_use = {value: index for index, node in enumerate(graph.nodes) for value in node.inputs}
    last_use.update({value: len(graph.nodes) for value in graph.outputs})
    live = set(graph.inputs[:1])
    cuts: list[str] = []
    for index, node in enumerate(graph.nodes):
        live.update(node.outputs)
        live = {value for value in live if last_use.get(value, -1) > index}
        if len(live) == 1 and not live <= set(graph.outputs):
            cuts.extend(live)
    return tuple(dict.fromkeys(cuts))


def parts(graph: Graph) -> tuple[Graph, ...]:
    """`graph` as a chain: each part computes, from what the one before returns, the next value of `cut_points`.

    That is its first input; further ones are those of the graph's that it reads.  The last part returns the graph's
    outputs.
    """
    cuts = set(cut_points(graph))
    groups: list[list[Node]] = [[]]
    for node in graph.nodes:
        groups[-1].append(node)
        if node.output in cuts:
            groups.append([])
    found, start = [], graph.inputs[0]
    for nodes in filter(None, groups):
        outputs = (nodes[-1].output,) if nodes[-1].output in cuts else graph.outputs
        constants = {v: graph.constants[v] for node in nodes for v in node.inputs if graph.is_constant(v)}
        read = {value for node in nodes for value in node.inputs}
        inputs = (start, *(value for value in graph.inputs[1:] if value in read))
        part = replace(graph, nodes=tuple(nodes), inputs=inputs, outputs=outputs, constants=constants)
        found.append(part)
        start = outputs[0]
    return tuple(found)
