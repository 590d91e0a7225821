"""Which elements of a graph's values belong to which channel, found by computing on labels what is computed on values.

Every output channel of a layer with constant weights is given a number, its label, and labels go the way of the values:
through Reshape, Transpose, Concat and Slice as elements do, through what treats elements alike unchanged; a sum makes
the labels that it adds one; a layer that reads a labelled axis ends it.  What cannot do without an element fixes its
label.  No operator need be known for its channels' sake: a channel shuffle is three movements of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.patterns import is_plain_gemm

Labels: TypeAlias = npt.NDArray[np.int64]
"""Labels of a value's elements; of length 1 along an axis that they do not depend on, and -1 where there is none."""

NONE = -1

_UNARY = frozenset(
    [
        *("Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity"),
        *("LeakyRelu", "Log", "Mish", "Neg", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh"),
    ]
)
_BINARY = frozenset(["Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"])
_SPATIAL = frozenset(["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize"])
_RESHAPING = frozenset(["Flatten", "Reshape", "Squeeze", "Unsqueeze"])
_REDUCING = frozenset(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"])


@dataclass(frozen=True)
class Reader:
    """Where labels end: input `index` of a node is summed over `axis`, whose elements have these labels."""

    node: str
    index: int
    axis: int
    labels: Labels


@dataclass(frozen=True)
class Use:
    """A constant that a node reads, and the labels of its elements there."""

    node: str
    constant: str
    labels: Labels


class Labelling:
    """The labels of a graph.

    Attributes:
        count: of labels.
        values: labels of each value that is computed.
        uses: of constants, those with labels alone.
        readers: where labels end.
        made: for each node that makes labels, those.
    """

    def __init__(self, graph: Graph) -> None:
        """Label every value."""
        self.graph = graph
        self.count = 0
        self.values: dict[str, Labels] = {}
        self.uses: list[Use] = []
        self.readers: list[Reader] = []
        self.made: dict[str, Labels] = {}
        self._equal: list[tuple[Labels, Labels]] = []
        self._fixed: list[Labels] = []
        for node in graph.nodes:
            found = _rule(node.op)(self, node)
            if len(found) < len(node.outputs):  # places of maxima, which count channels
                for labels in found:
                    self.fix(labels)
                found = [_nothing(len(self.graph.shape(value))) for value in node.outputs]
            for value, labels in zip(node.outputs, found, strict=True):
                self.values[value] = compressed(labels)
        for value in graph.outputs:
            self.fix(self.of(value))
        self._fix_what_others_read()
        self._settle()

    def of(self, value: str) -> Labels:
        """The labels of a value; without any where nothing is known of it."""
        return self.values.get(value, _nothing(len(self.graph.shape(value))))

    def axis_of(self, labels: Labels) -> int | None:
        """The axis that labels lie along; None where there is none."""
        return next((axis for axis, size in enumerate(labels.shape) if size > 1), None)

    # --- what rules say ----------------------------------------------------------------------------------------------

    def make(self, node: Node, channels: int) -> Labels:
        """New labels, one for each channel that a node makes."""
        labels = np.arange(self.count, self.count + channels)
        self.made[node.name] = labels
        self.count += channels
        return labels

    def same(self, first: Labels, second: Labels) -> None:
        """Elements that go together; where one has no label, the other cannot go."""
        one, other = np.broadcast_arrays(first, second)
        both = (one >= 0) & (other >= 0)
        self._equal.append((one[both], other[both]))
        self.fix(one[~both])
        self.fix(other[~both])

    def fix(self, labels: Labels) -> None:
        """These cannot go."""
        self._fixed.append(labels[labels >= 0].reshape(-1))

    def use(self, node: Node, constant: str, labels: Labels) -> None:
        """A node reads a constant whose elements have these labels."""
        if labels.size > 1:
            self.uses.append(Use(node.name, constant, compressed(labels)))

    def read(self, node: Node, index: int, axis: int) -> Labels:
        """A node sums its input over an axis: the labels along it, which end here."""
        labels = self.of(node.inputs[index])
        length = self.graph.shape(node.inputs[index])[axis]
        if self._lies_along(labels, axis):
            along = np.broadcast_to(labels.reshape(-1), (length,))
            self.readers.append(Reader(node.name, index, axis % labels.ndim, along))
            return along
        self.fix(labels)
        return np.full(length, NONE)

    def _lies_along(self, labels: Labels, axis: int) -> bool:
        return bool(labels.size == labels.shape[axis])

    # --- what follows from all of it ---------------------------------------------------------------------------------

    def _fix_what_others_read(self) -> None:
        """A constant that several nodes read can lose what it holds for a channel where all of them lose it."""
        axes: dict[tuple[str, int], list[Labels]] = {}
        for use in self.uses:
            axis = self.axis_of(use.labels)
            axes.setdefault((use.constant, -1 if axis is None else axis), []).append(use.labels)
        for (constant, _), found in axes.items():
            times = sum(node.inputs.count(constant) for node in self.graph.consumers[constant])
            for labels in found:
                self.same(found[0], labels)
                if len(found) < times:
                    self.fix(labels)

    def _settle(self) -> None:
        """Every value has labels along one axis at most; where they lie along several, those of the longest stay."""
        while True:
            name, settled = self._names(), True
            for labels in (*self.values.values(), *(use.labels for use in self.uses)):
                now = _named(name, labels)
                longest = int(np.argmax(now.shape)) if now.ndim else 0
                if now.size == 1 and now.max() >= 0:  # all of it is one
                    self.fix(labels)
                    settled = False
                elif now.size > max(now.shape, default=1):
                    others = tuple(slice(None) if axis == longest else slice(1) for axis in range(now.ndim))
                    self.same(now, now[others])
                    settled = False
            if settled:
                break
        self.values = {value: _named(name, labels) for value, labels in self.values.items()}
        self.uses = [Use(use.node, use.constant, _named(name, use.labels)) for use in self.uses]
        self.readers = [Reader(r.node, r.index, r.axis, name[r.labels]) for r in self.readers]
        self.made = {node: name[labels] for node, labels in self.made.items()}

    def _names(self) -> Labels:
        """For each label the least of those that go with it; `NONE` where one of them cannot go, and for `NONE`."""
        first = np.concatenate([np.zeros(0, np.int64), *(pair[0] for pair in self._equal)])
        second = np.concatenate([np.zeros(0, np.int64), *(pair[1] for pair in self._equal)])
        name = np.arange(self.count)
        while True:
            least = np.minimum(name[first], name[second])
            lower = name.copy()
            np.minimum.at(lower, name[first], least)
            np.minimum.at(lower, name[second], least)
            while not np.array_equal(lower, lower[lower]):
                lower = lower[lower]
            if np.array_equal(lower, name):
                break
            name = lower
        fixed = np.zeros(self.count, bool)
        fixed[name[np.concatenate([np.zeros(0, np.int64), *self._fixed])]] = True
        return np.append(np.where(fixed[name], NONE, name), NONE)


def _named(name: Labels, labels: Labels) -> Labels:
    return compressed(name[labels])


def compressed(labels: Array) -> Array:
    """Labels, or other numbers, of length 1 along each axis that they do not depend on."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1 and (labels == labels.take([0], axis)).all():
            labels = labels.take([0], axis)
    return labels


def moved(graph: Graph, node: Node, arrays: Sequence[Array]) -> list[Array] | None:
    """What a node that only moves elements makes of others of its inputs' shapes; None for other nodes.

    Args:
        graph: that of the node.
        node: any.
        arrays: one for each input that is no constant, of length 1 along axes that they do not depend on.
    """
    if node.op in _RESHAPING:
        whole = np.broadcast_to(arrays[0], graph.shape(node.inputs[0]))
        return [whole.reshape(graph.shape(node.output))]
    if node.op == "Transpose":
        perm = node.ints("perm", tuple(reversed(range(arrays[0].ndim))))
        return [arrays[0].transpose(perm)]
    if node.op == "Concat":
        if any(map(graph.is_constant, node.inputs)):
            return None
        axis = node.int("axis") % arrays[0].ndim
        shape = [max(array.shape[other] for array in arrays) for other in range(arrays[0].ndim)]
        sizes = [graph.shape(value)[axis] for value in node.inputs]
        parts = [np.broadcast_to(a, (*shape[:axis], n, *shape[axis + 1 :])) for a, n in zip(arrays, sizes, strict=True)]
        return [np.concatenate(parts, axis)]
    if node.op == "Slice":
        windows = slices(graph, node)
        if windows is None:
            return None
        return [arrays[0][tuple(slice(None) if n == 1 else w for n, w in zip(arrays[0].shape, windows, strict=True))]]
    if node.op == "Split":
        axis = node.int("axis") % arrays[0].ndim
        ends = np.cumsum([graph.shape(value)[axis] for value in node.outputs])[:-1]
        return [*np.split(arrays[0], ends, axis)] if arrays[0].shape[axis] > 1 else [arrays[0]] * len(node.outputs)
    return None


def slices(graph: Graph, node: Node) -> list[slice] | None:
    """What a Slice takes along each axis; None where that is not constant, or goes by steps."""
    shape = graph.shape(node.inputs[0])
    if not all(graph.is_constant(value) for value in node.inputs[1:] if value):
        return None
    starts, ends, axes, steps = (graph.constants.get(node.input(index)) for index in range(1, 5))
    assert starts is not None and ends is not None
    if steps is not None and (steps != 1).any():
        return None
    found = [slice(0, size) for size in shape]
    for start, end, axis in zip(starts, ends, range(len(starts)) if axes is None else axes, strict=True):
        found[axis] = slice(*slice(int(start), int(end)).indices(shape[axis])[:2])
    return found


# --- rules: each tells what a node does with labels, and returns its outputs' ----------------------------------------

_Rule: TypeAlias = Callable[[Labelling, Node], list[Labels]]


def _rule(op: str) -> _Rule:
    if op in _UNARY:
        return _unary
    if op in _BINARY:
        return _elementwise
    if op in _SPATIAL:
        return _spatial
    return _reduced if op in _REDUCING else _RULES.get(op, _opaque)


def _nothing(rank: int) -> Labels:
    return np.full((1,) * rank, NONE)


def _opaque(found: Labelling, node: Node) -> list[Labels]:
    for value in node.inputs:
        if value:
            found.fix(found.of(value))
    return [_nothing(len(found.graph.shape(value))) for value in node.outputs]


def _moving(found: Labelling, node: Node) -> list[Labels]:
    given = [found.of(value) for value in node.inputs if value and not found.graph.is_constant(value)]
    if any((labels >= 0).any() for labels in given):
        outputs = moved(found.graph, node, given)
        if outputs is not None:
            return outputs
    return _opaque(found, node)


def _unary(found: Labelling, node: Node) -> list[Labels]:
    return [found.of(node.inputs[0])]


def _elementwise(found: Labelling, node: Node) -> list[Labels]:
    shape = found.graph.shape(node.output)
    operands = [value for value in node.inputs if not found.graph.is_constant(value)]
    aligned = [_aligned(found.of(value), len(shape)) for value in operands]
    axes = {axis for labels in aligned for axis, size in enumerate(labels.shape) if size > 1}
    whole = []
    for value, labels in zip(operands, aligned, strict=True):
        own = (1,) * (len(shape) - len(found.graph.shape(value))) + found.graph.shape(value)
        if any(own[axis] == 1 < shape[axis] for axis in axes):
            found.fix(labels)  # one channel for all of the others': a map of weights, say
        else:
            whole.append(labels)
    if not whole:
        return [_nothing(len(shape))]
    for labels in whole[1:]:
        found.same(whole[0], labels)
    labels = np.broadcast_arrays(*whole)[0]
    for name in node.inputs:
        if found.graph.is_constant(name):
            _use_broadcast(found, node, name, labels)
    return [labels]


def _aligned(labels: Labels, rank: int) -> Labels:
    return labels.reshape((1,) * (rank - labels.ndim) + labels.shape)


def _use_broadcast(found: Labelling, node: Node, name: str, labels: Labels) -> None:
    """A constant operand, whose shape lacks axes that come first, or is 1 along some."""
    own = found.graph.shape(name)
    leading = labels.ndim - len(own)
    inner = labels.reshape(labels.shape[leading:]) if max(labels.shape[:leading], default=1) == 1 else labels
    if inner.ndim == len(own) and all(size >= along for size, along in zip(own, inner.shape, strict=True)):
        found.use(node, name, inner)


def _spatial(found: Labelling, node: Node) -> list[Labels]:
    labels = found.of(node.inputs[0])
    return [labels] if all(size == 1 for size in labels.shape[2:]) else _opaque(found, node)


def _conv(found: Labelling, node: Node) -> list[Labels]:
    graph = found.graph
    if not all(graph.is_constant(value) for value in node.inputs[1:]):
        return _opaque(found, node)
    rank, groups = len(graph.shape(node.output)), node.int("group", 1)
    inputs, outputs = (graph.shape(value)[1] for value in (node.inputs[0], node.output))
    labels = found.of(node.inputs[0])
    if groups == 1:
        _use_along(found, node, node.inputs[1], 1, found.read(node, 0, 1))
        along = found.make(node, outputs)
    elif groups == inputs and labels.size == labels.shape[1]:
        along = np.repeat(np.broadcast_to(labels.reshape(-1), (inputs,)), outputs // inputs)
    else:
        return _opaque(found, node)
    _use_along(found, node, node.inputs[1], 0, along)
    for bias in node.inputs[2:]:
        _use_along(found, node, bias, 0, along)
    return [along.reshape(1, -1, *([1] * (rank - 2)))]


def _gemm(found: Labelling, node: Node) -> list[Labels]:
    graph = found.graph
    if not is_plain_gemm(graph, node) or not all(graph.is_constant(value) for value in node.inputs[1:]):
        return _opaque(found, node)
    output_axis = 0 if node.int("transB") else 1
    _use_along(found, node, node.inputs[1], 1 - output_axis, found.read(node, 0, 1))
    along = found.make(node, graph.shape(node.output)[1])
    _use_along(found, node, node.inputs[1], output_axis, along)
    for bias in node.inputs[2:]:
        _use_along(found, node, bias, -1, along)
    return [along.reshape(1, -1)]


def _matmul(found: Labelling, node: Node) -> list[Labels]:
    graph = found.graph
    ranks = [len(graph.shape(value)) for value in node.inputs]
    if min(ranks) < 2 or graph.is_constant(node.inputs[0]):
        return _opaque(found, node)
    if not graph.is_constant(node.inputs[1]):
        return _product(found, node) if ranks[0] == ranks[1] else _opaque(found, node)
    if ranks[1] > 2:
        return _opaque(found, node)
    _use_along(found, node, node.inputs[1], 0, found.read(node, 0, -1))
    along = found.make(node, graph.shape(node.output)[-1])
    _use_along(found, node, node.inputs[1], 1, along)
    return [along.reshape((1,) * (ranks[0] - 1) + (-1,))]


def _product(found: Labelling, node: Node) -> list[Labels]:
    """A product of two values: with heads, each is one label; without, what is summed over goes together."""
    first, second = (found.of(value) for value in node.inputs)
    heads = [max(sizes) for sizes in zip(first.shape[:-2], second.shape[:-2], strict=True)]
    if max(heads, default=1) > 1:
        result = compressed(first)[..., :1, :1]
        found.same(first, result)
        found.same(result, second)
        return [result]
    summed = found.read(node, 0, -1)
    found.same(summed.reshape((1,) * (second.ndim - 1) + (-1, 1)), second if second.shape[-1] == 1 else _nothing(2))
    if first.shape[-2] > 1 or min(second.shape[-2:]) > 1:
        found.fix(first)
        found.fix(second)
        return [_nothing(second.ndim)]
    return [second if second.shape[-1] > 1 else _nothing(second.ndim)]


def _use_along(found: Labelling, node: Node, constant: str, axis: int, along: Labels) -> None:
    shape = [1] * len(found.graph.shape(constant))
    shape[axis] = -1
    if shape and (found.graph.shape(constant)[axis] == len(along)):
        found.use(node, constant, along.reshape(shape))


def _softmax(found: Labelling, node: Node) -> list[Labels]:
    labels = found.of(node.inputs[0])
    return [labels] if labels.shape[node.int("axis", -1)] == 1 else _opaque(found, node)


def _reduced(found: Labelling, node: Node) -> list[Labels]:
    """A mean over channels is another one where some are gone; a sum is what it was, without them."""
    labels, shape = found.of(node.inputs[0]), found.graph.shape(node.inputs[0])
    constant = found.graph.constants.get(node.input(1))
    axes = {int(axis) % len(shape) for axis in (range(len(shape)) if constant is None else constant)}
    over = [axis for axis in axes if labels.shape[axis] > 1]
    if over and node.op == "ReduceSum" and labels.size == labels.shape[over[0]]:
        found.read(node, 0, over[0])
        return [_nothing(len(found.graph.shape(node.output)))]
    if over:
        return _opaque(found, node)
    return [labels if node.int("keepdims", 1) else labels.squeeze(tuple(axes))]


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys((*_RESHAPING, "Concat", "Slice", "Split", "Transpose"), _moving),
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Softmax": _softmax,
}
