"""Columns of a value by themselves: several heads in one layer, or joined by Concat, become layers of their own.

    Gemm (8 logits, valence, arousal)  ->  Slice     becomes    Gemm (8 logits)
                                       ->  Slice                Gemm (valence, arousal)

A Slice moves up through what passes each column on by itself, through Concat, Split and other Slices, into the weights
of the layer that makes the columns.  Stored as integers, each head then has scales of its own, and what feeds one
head alone shares none with what feeds another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate, pairwise
from math import prod

import numpy as np

from edgefer.graph.ir import Array, Attribute, Graph, Node, TensorInfo, unused_name
from edgefer.graph.regions import ChannelConstant, linked, made, mixes_channels, passed, regrouped


def columns(graph: Graph, value: str, start: int, stop: int) -> tuple[Graph, str] | None:
    """The graph with one more value, or the one that has it already, that is `value[:, start:stop]`.

    Args:
        graph: normalised.
        value: of two axes or more, columns along axis 1.
        start: the first column.
        stop: the one past the last.

    Returns:
        The graph and the value's name; None where only a Slice behind `value` can tell the columns apart.
    """
    search = _Columns(graph)
    found = search.of(value, start, stop)
    return None if found is None else (search.graph(), found)


class _Columns:
    """Columns found so far, and what computes them, behind the nodes of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._found: dict[tuple[str, int, int], str | None] = {}
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._info: dict[str, TensorInfo] = {}

    def graph(self) -> Graph:
        """The graph with all that was added."""
        if not self._nodes:
            return self._graph
        return self._graph.with_constants(self._constants).with_nodes((*self._graph.nodes, *self._nodes), self._info)

    def of(self, value: str, start: int, stop: int) -> str | None:
        """The value that holds some columns of another, None where there is none."""
        key = value, start, stop
        if key not in self._found:
            found = self._made(value, start, stop)
            whole = (start, stop) == (0, self._graph.shape(value)[1])
            self._found[key] = value if found is None and whole else found
        return self._found[key]

    def _made(self, value: str, start: int, stop: int) -> str | None:
        node, shape = self._graph.producers.get(value), self._graph.shape(value)
        whole = (start, stop) == (0, shape[1])
        if node is None or (whole and prod(shape) > shape[1]):
            return None  # all of a map: whether its channels were apart before does not matter
        if node.op == "Concat" and node.int("axis") % len(shape) == 1:
            return self._joined(node, start, stop)
        if node.op in ("Slice", "Split"):
            first = self._first(node, value)
            return None if first is None else self.of(node.inputs[0], first + start, first + stop)
        if mixes_channels(self._graph, node):
            return None if whole else self._copy(node, start, stop, made(node), {})
        alike = linked(self._graph, node, value, "order")
        if alike is None:
            return None
        read = {each: self.of(each, start, stop) for each in node.inputs if each in alike}
        known = {each: name for each, name in read.items() if name is not None}
        if whole and all(name == each for each, name in known.items()):
            return None
        return self._copy(node, start, stop, passed(self._graph, node), known) if len(known) == len(read) else None

    def _joined(self, node: Node, start: int, stop: int) -> str | None:
        """Columns of a Concat: of one of its parts, or of several, joined."""
        ends = [0, *accumulate(self._graph.shape(part)[1] for part in node.inputs)]
        found = [
            self.of(part, max(start - first, 0), min(stop, last) - first)
            for part, (first, last) in zip(node.inputs, pairwise(ends), strict=True)
            if start < last and first < stop
        ]
        known = tuple(part for part in found if part is not None)
        if len(known) < len(found) or known == node.inputs:
            return None
        if len(known) == 1:
            return known[0]
        return self._add(node, start, stop, known, node.attributes)

    def _first(self, node: Node, value: str) -> int | None:
        """Which column of its input a Slice's or Split's output begins with; None where it is no run of columns."""
        shape = self._graph.shape(node.inputs[0])
        if node.op == "Split":
            sizes = [self._graph.shape(output)[1] for output in node.outputs]
            before = sum(sizes[: node.outputs.index(value)])
            return before if node.int("axis") % len(shape) == 1 else None
        starts, _, *more = (self._graph.constants.get(name) for name in node.inputs[1:])
        axes = more[0] if more else None
        steps = more[1] if len(more) > 1 else np.ones(1)
        if starts is None or axes is None or steps is None or not np.all(steps == 1):
            return None
        others = [size for axis, size in enumerate(shape) if axis != 1]
        if others != [size for axis, size in enumerate(self._graph.shape(value)) if axis != 1]:
            return None
        found = [int(first) for first, axis in zip(starts, axes, strict=True) if axis % len(shape) == 1]
        return slice(found[0], None).indices(shape[1])[0] if len(found) == 1 else None

    def _copy(
        self, node: Node, start: int, stop: int, constants: list[ChannelConstant], read: Mapping[str, str]
    ) -> str:
        """A node once more, for some of its output's columns."""
        names = dict(read)
        for constant in constants:
            name = names[constant.name] = self._unused(f"{constant.name}/columns_{start}")
            array = self._graph.constants[constant.name].take(range(start, stop), constant.axis)
            self._constants[name] = np.ascontiguousarray(array)
            self._info[name] = TensorInfo(array.shape, array.dtype)
        inputs = tuple(names.get(value, value) for value in node.inputs)
        return self._add(node, start, stop, inputs, regrouped(node, stop - start))

    def _add(
        self, node: Node, start: int, stop: int, inputs: tuple[str, ...], attributes: Mapping[str, Attribute]
    ) -> str:
        output, info = self._unused(f"{node.output}/columns_{start}"), self._graph.info[node.output]
        self._info[output] = replace(info, shape=(info.shape[0], stop - start, *info.shape[2:]))
        taken = self._graph.named.keys() | {each.name for each in self._nodes}
        name = unused_name(f"{node.name}/columns_{start}", taken)
        self._nodes.append(replace(node, name=name, inputs=inputs, outputs=(output,), attributes=attributes))
        return output

    def _unused(self, stem: str) -> str:
        return unused_name(stem, self._graph.info.keys() | self._info.keys())
