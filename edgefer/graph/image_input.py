"""A network's image input as the rest of edgefer has it, float32 (1, channels, H, W), whatever it is in the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name, fresh_node_name

_FLOAT = np.dtype(np.float32)
_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)

_MOVES = {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile"} | {
    "Transpose",
    "Unsqueeze",
}
_BY_NUMBER = {"Abs", "Add", "Cast", "Clip", "Div", "Dropout", "Exp", "Identity", "LeakyRelu", "Max", "Min", "Mul"} | {
    "Neg",
    "Pow",
    "Relu",
    "Sigmoid",
    "Sqrt",
    "Sub",
    "Tanh",
}


def takes_floats(graph: Graph) -> Graph:
    """The graph of a network that takes pixels as integers, taking the same numbers as float32.

    Raises:
        InputError: it computes with the integers.
    """
    if graph.info[graph.inputs[0]].dtype == _FLOAT:
        return graph
    pixels = {graph.inputs[0]}
    for node in graph.nodes:
        if pixels.isdisjoint(node.inputs) or node.op == "Cast":
            continue
        moved = [value for value in node.inputs if graph.info[value].dtype == graph.info[graph.inputs[0]].dtype]
        if node.op not in _MOVES or not pixels.issuperset(moved):
            raise InputError(
                f"node {node.name!r} ({node.op}) computes in {graph.info[node.output].dtype}, on the pixels themselves",
                remedy="Export the network with its pixels cast to float32 first.",
            )
        pixels.update(node.outputs)
    return replace(graph, info={**graph.info, **{v: replace(graph.info[v], dtype=_FLOAT) for v in pixels if v}})


def takes_channels_first(graph: Graph) -> Graph:
    """The graph of a network that takes (1, H, W, channels), taking (1, channels, H, W).

    The turn is pushed down through what the network does to its pixels, to the Transpose that convolutions ask for,
    which it takes away.
    """
    return _Turned(graph).graph()


class _Turned:
    """The nodes of a graph in the making, in which some values have their channels first."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._info: dict[str, TensorInfo] = {}
        self._turned: set[str] = set()
        self._equal: dict[str, str] = {}  # what a Transpose made of a turned value, which is that value as it is now
        self._turn(graph.inputs[0])
        for node in graph.nodes:
            self._visit(node)

    def graph(self) -> Graph:
        """The graph that results."""
        return self._graph.with_constants(self._constants).with_nodes(self._nodes, self._info)

    def _visit(self, node: Node) -> None:
        if self._turned.isdisjoint(node.inputs):
            self._add(node)
        elif node.op == "Transpose":
            perm = tuple(_TO_NHWC[axis] for axis in node.ints("perm", (3, 2, 1, 0)))
            if perm == (0, 1, 2, 3) and node.output not in self._graph.outputs:
                self._equal[node.output] = node.inputs[0]
            else:
                self._add(replace(node, attributes={"perm": perm}))
        elif (turned := self._on_channels_first(node)) is not None:
            self._add(turned)
            self._turn(node.output)
        else:
            self._add(replace(node, inputs=tuple(map(self._as_it_was, node.inputs))))

    def _add(self, node: Node) -> None:
        self._nodes.append(replace(node, inputs=tuple(self._equal.get(value, value) for value in node.inputs)))

    def _on_channels_first(self, node: Node) -> Node | None:
        """The same node on values with their channels first, None where it cannot be said so."""
        others = [value for value in node.inputs if value and value not in self._turned]
        constants = self._graph.constants
        if node.output in self._graph.outputs or not all(value in constants for value in others):
            return None
        if len(self._graph.shape(node.output)) != 4:
            return None
        if node.op in _BY_NUMBER:
            return replace(node, inputs=tuple(self._constant(v) if v in others else v for v in node.inputs))
        if node.op == "Gather" and constants[node.inputs[1]].ndim == 1 and node.inputs[0] in self._turned:
            return replace(node, attributes={"axis": _TO_NHWC[node.int("axis")]})
        if node.op == "Concat" and not others:
            return replace(node, attributes={"axis": _TO_NHWC[node.int("axis")]})
        if node.op == "Pad" and not node.input(3) and node.inputs[0] in self._turned:
            pads = constants[node.inputs[1]].reshape(2, 4)[:, _TO_NCHW].reshape(-1)
            return replace(node, inputs=(node.inputs[0], self._named(node.inputs[1], pads), *node.inputs[2:]))
        return None

    def _constant(self, value: str) -> str:
        array = self._graph.constants[value]
        if array.size == 1:
            return value
        return self._named(value, array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(_TO_NCHW))

    def _named(self, value: str, array: Array) -> str:
        name = fresh_name(self._graph, f"{value}/channels_first")
        self._constants[name] = np.ascontiguousarray(array)
        return name

    def _turn(self, value: str) -> None:
        info = self._graph.info[value]
        self._info[value] = replace(info, shape=tuple(info.shape[axis] for axis in _TO_NCHW))
        self._turned.add(value)

    def _as_it_was(self, value: str) -> str:
        """The value with its channels last, for readers that need it so."""
        if value not in self._turned:
            return value
        name = fresh_name(self._graph, f"{value}/channels_last")
        if name not in self._info:
            node_name = fresh_node_name(self._graph, f"{value}/Transpose")
            self._nodes.append(Node(node_name, "Transpose", (value,), (name,), {"perm": _TO_NHWC}))
            self._info[name] = self._graph.info[value]
        return name
