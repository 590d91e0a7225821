"""The float graph: immutable nodes over named values, in ONNX's operator vocabulary.

A `Graph` is what every pass takes and returns, what the Plan's names refer to, and what both emitters
read.  It is plain data: nodes in topological order, constants as arrays, and the static shape and dtype
of every value.  Operators mean what ONNX opset 18 says (`OPSET`), with two additions: a node may carry
a fused `activation`, applied to its only output, and `Gelu` means what opset 20 says.
"""

from __future__ import annotations

import builtins
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, count
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError

OPSET = 18

Array: TypeAlias = npt.NDArray[Any]
Attribute: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array
Activation: TypeAlias = Literal["", "Relu", "Relu6"]
Feed: TypeAlias = Mapping[str, Array]
"""What is given to a graph, by the names of its inputs; what else it holds, nobody reads."""


@dataclass(frozen=True)
class TensorInfo:
    """Static shape and element type of a value."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class Node:
    """One operator application; its name is its own in the graph.

    `inputs` may hold `""` for an optional input that is left out; trailing ones are dropped.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    activation: Activation = ""

    @property
    def output(self) -> str:
        """The first output: the only one, for all operators but Split."""
        return self.outputs[0]

    def input(self, index: int) -> str:
        """Name of input `index`, `""` when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def ints(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Attribute `name` as a tuple of ints."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or not all(isinstance(v, int | np.integer) for v in value):
            raise self._misstated(name, "whole numbers")
        return tuple(int(v) for v in value)

    def int(self, name: str, default: int = 0) -> int:
        """Attribute `name` as an int."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._misstated(name, "a whole number")
        return value

    def float(self, name: str, default: float = 0.0) -> float:
        """Attribute `name` as a float."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self._misstated(name, "a number")
        return float(value)

    def str(self, name: str, default: str = "") -> str:
        """Attribute `name` as a string."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self._misstated(name, "a word")
        return value

    def _misstated(self, attribute: builtins.str, wanted: builtins.str) -> InputError:
        return InputError(
            f"node {self.name!r} ({self.op}): its attribute {attribute} must be {wanted}",
            remedy="The file is damaged, or of an invalid network: export it again.",
        )


@dataclass(frozen=True)
class Graph:
    """A network with static shapes; equal inputs give equal outputs, in float32.

    Attributes:
        nodes: in topological order.
        inputs: names of the values that the caller feeds.
        outputs: names of the values that the caller reads.
        constants: weights and other values known at conversion time.
        info: shape and dtype of every value, constants included.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Array]
    info: Mapping[str, TensorInfo]

    def __post_init__(self) -> None:
        for name, mapping in (("constants", self.constants), ("info", self.info)):
            if not isinstance(mapping, MappingProxyType):  # else it is another graph's, which stays what it is
                object.__setattr__(self, name, MappingProxyType(dict(mapping)))

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each value; graph inputs and constants have none."""
        return {output: node for node in self.nodes for output in node.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in order, each once."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                if value:
                    found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def named(self) -> Mapping[str, Node]:
        """The node of each name."""
        return {node.name: node for node in self.nodes}

    def sole_consumer(self, value: str) -> Node | None:
        """The only reader of `value`, or None when there are several or it is a graph output."""
        readers = self.consumers.get(value, ())
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def shape(self, value: str) -> tuple[int, ...]:
        """Static shape of `value`."""
        return self.info[value].shape

    def is_constant(self, value: str) -> bool:
        """Whether `value` is known at conversion time."""
        return value in self.constants

    def with_constants(self, changes: Mapping[str, Array]) -> Graph:
        """A graph in which `changes` are added to, or replace, constants."""
        info = {name: TensorInfo(array.shape, array.dtype) for name, array in changes.items()}
        return replace(self, constants={**self.constants, **changes}, info={**self.info, **info})

    def with_nodes(self, nodes: Iterable[Node], info: Mapping[str, TensorInfo] | None = None) -> Graph:
        """A graph with other `nodes`, given in topological order, and `info` on values that are new."""
        return replace(self, nodes=tuple(nodes), info={**self.info, **(info or {})})


def fresh_name(graph: Graph, stem: str) -> str:
    """A value name starting with `stem` that `graph` does not use yet."""
    return unused_name(stem, graph.info)


def fresh_node_name(graph: Graph, stem: str) -> str:
    """A node name starting with `stem` that `graph` does not use yet."""
    return unused_name(stem, graph.named)


def unused_name(stem: str, taken: Container[str]) -> str:
    """`stem`, with a number behind it where it is taken."""
    numbered = (f"{stem}_{number}" for number in count(1))
    return next(name for name in chain([stem], numbered) if name not in taken)
