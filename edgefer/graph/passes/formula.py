"""What a node computes, said by other nodes, and written as arithmetic.

at = Formula(graph, node)
x = at.input(0)
graph = at.become(x * (1 + (-x).to("Exp")).to("Reciprocal"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from edgefer.graph.inference import infer_outputs
from edgefer.graph.ir import Array, Attribute, Graph, Node, TensorInfo, unused_name
from edgefer.graph.passes.rewrite import substitute

Operand: TypeAlias = "Term | float | Array"


class Formula:
    """Nodes under construction that are to take the place of one node.

    Attributes:
        graph: has the node.
        node: what is replaced.
    """

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self.node = node
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}
        self._info: dict[str, TensorInfo] = {}
        self._terms: dict[int, tuple[Array, Term]] = {}

    def input(self, index: int) -> Term:
        """An input of the node."""
        return Term(self, self.node.inputs[index])

    def value(self, name: str) -> Term:
        """Any value of the graph that is made before the node."""
        return Term(self, name)

    def has_input(self, index: int) -> bool:
        """Whether the node has an input there."""
        return bool(self.node.input(index))

    def constant(self, index: int) -> Array | None:
        """The contents of an input; None where it is left out or computed."""
        return self.graph.constants.get(self.node.input(index))

    def wants(self, index: int) -> bool:
        """Whether anything reads an output of the node."""
        value = self.node.outputs[index] if index < len(self.node.outputs) else ""
        return bool(value) and (value in self.graph.consumers or value in self.graph.outputs)

    def term(self, operand: Operand) -> Term:
        """A term, a float32 number, or an array as it is, which is one constant however often it is named."""
        if isinstance(operand, Term):
            return operand
        if id(operand) in self._terms and isinstance(operand, np.ndarray):
            return self._terms[id(operand)][1]
        array = operand if isinstance(operand, np.ndarray) else np.asarray(operand, np.float32)
        name = self._unused(f"{self.node.name}/constant")
        self._constants[name], self._info[name] = array, TensorInfo(array.shape, array.dtype)
        made = Term(self, name)
        if isinstance(operand, np.ndarray):
            self._terms[id(operand)] = (operand, made)
        return made

    def integers(self, *numbers: int) -> Array:
        """Shapes, axes and the like, as ONNX takes them."""
        return np.asarray(numbers, np.int64)

    def apply(
        self,
        op: str,
        operands: Sequence[Operand | None],
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
        outputs: int = 1,
    ) -> list[Term]:
        """The outputs of one more node; operands that are None are left out."""
        inputs = tuple("" if operand is None else self.term(operand).value for operand in operands)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        made: list[str] = []
        for _ in range(outputs):
            made.append(self._unused(f"{self.node.name}/{op}", made))
        names = {*self.graph.named, *(other.name for other in self._nodes)}
        node = Node(unused_name(f"{self.node.name}/{op}", names), op, inputs, tuple(made), attributes)
        info = {**{value: self.graph.info[value] for value in inputs if value in self.graph.info}, **self._info}
        found = infer_outputs(node, info, {**self.graph.constants, **self._constants})
        self._info.update({value: entry for value, entry in found.items() if entry is not None})
        self._nodes.append(node)
        return [Term(self, value) for value in made]

    def become(self, *results: Term | None) -> Graph:
        """The graph in which the outputs of the node are these terms; None for what `wants` does not name."""
        names: dict[str, str] = {}
        made = {value for node in self._nodes for value in node.outputs}
        for old, result in zip(self.node.outputs, results, strict=False):
            if result is None or not old:
                continue
            term = result
            if term.value not in made or term.value in names:
                (term,) = self.apply("Identity", [term])
            names[term.value] = old
        nodes = [
            replace(node, outputs=tuple(names.get(value, value) for value in node.outputs)) for node in self._nodes
        ]
        nodes = [replace(node, inputs=tuple(names.get(value, value) for value in node.inputs)) for node in nodes]
        info = {value: entry for value, entry in self._info.items() if value not in names}
        return substitute(self.graph, {self.node.name: nodes}, self._constants, info)

    def info(self, value: str) -> TensorInfo:
        """Shape and dtype of a value, old or new."""
        return self._info.get(value) or self.graph.info[value]

    def _unused(self, stem: str, more: list[str] | None = None) -> str:
        return unused_name(stem, {*self.graph.info, *self._info, *(more or [])})


class Term:
    """A value in a formula; arithmetic broadcasts as ONNX does."""

    def __init__(self, at: Formula, value: str) -> None:
        self.at = at
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Static shape."""
        return self.at.info(self.value).shape

    def to(self, op: str, *others: Operand | None, **attributes: Attribute) -> Term:
        """The only output of a node that reads this term first."""
        (made,) = self.at.apply(op, [self, *others], attributes)
        return made

    def over(self, op: str, *axes: int, keepdims: bool = True) -> Term:
        """A reduction over `axes`."""
        return self.to(op, self.at.integers(*axes), keepdims=int(keepdims))

    def reshaped(self, *shape: int) -> Term:
        """The same elements in another shape."""
        return self.to("Reshape", self.at.integers(*shape))

    def transposed(self, *perm: int) -> Term:
        """The same with axes in another order."""
        return self.to("Transpose", perm=perm)

    def part(self, axis: int, start: int, stop: int) -> Term:
        """The elements from `start` to before `stop` along an axis."""
        return self.to("Slice", *(self.at.integers(number) for number in (start, stop, axis)))

    def __add__(self, other: Operand) -> Term:
        return self.to("Add", other)

    def __radd__(self, other: Operand) -> Term:
        return self.at.term(other).to("Add", self)

    def __sub__(self, other: Operand) -> Term:
        return self.to("Sub", other)

    def __rsub__(self, other: Operand) -> Term:
        return self.at.term(other).to("Sub", self)

    def __mul__(self, other: Operand) -> Term:
        return self.to("Mul", other)

    def __rmul__(self, other: Operand) -> Term:
        return self.at.term(other).to("Mul", self)

    def __truediv__(self, other: Operand) -> Term:
        return self.to("Div", other)

    def __rtruediv__(self, other: Operand) -> Term:
        return self.at.term(other).to("Div", self)

    def __neg__(self) -> Term:
        return self.to("Neg")
