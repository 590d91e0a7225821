"""A network that was exported for a batch of several images, restated for one; or one for one image, for any number.

Exporters write an example's batch into targets of Reshape and Expand and into constants.  So where the images lie in
each value is followed from the input on; what mixes them is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name, fresh_node_name

_ANY = np.iinfo(np.int64).max  # as the end of a slice: however many there are
_REMEDY = "Export the network with one image as its example (torch.zeros(1, ...))"


@dataclass(frozen=True)
class _Place:
    """Where a value has its images: along `axis`, `outer` times one after the other, each `inner` long."""

    axis: int
    outer: int = 1
    inner: int = 1


_Rule: TypeAlias = "Callable[[_Restated, Node], tuple[_Place, Node]]"


def for_one_image(graph: Graph) -> Graph:
    """The graph of a network that takes (N, ...), taking (1, ...).

    Raises:
        InputError: the answer for one image depends on the others, or an operator's part in it is not known.
    """
    shape = graph.shape(graph.inputs[0]) if len(graph.inputs) == 1 else ()
    return _Restated(graph, shape[0]).graph() if len(shape) > 1 and shape[0] > 1 else graph


def for_any_number(graph: Graph) -> Graph:
    """The graph of a network that takes (1, ...), whose nodes take (N, ...) as well; it says the shapes of one.

    Raises:
        InputError: a node mixes images, or how it takes several is not known.
    """
    restated = _Restated(graph, 1)
    restated.require_first()
    return restated.graph()


def without_repeats(graph: Graph) -> Graph:
    """The graph of one image, in which nothing is repeated for as many as there are; what told the number is dead."""
    targets = {
        node.output
        for node in graph.nodes
        if any(maker is not None and maker.op == "Shape" for maker in map(graph.producers.get, node.inputs))
    }
    repeats = {node.output: node.inputs[0] for node in graph.nodes if node.op == "Expand" and node.inputs[1] in targets}
    return graph.with_nodes(
        replace(node, inputs=tuple(repeats.get(value, value) for value in node.inputs)) for node in graph.nodes
    )


class _Restated:
    """The nodes of a graph in the making: for one of `count` images, or where it is for one, for any number."""

    def __init__(self, graph: Graph, count: int) -> None:
        self._graph = graph
        self._count = count
        self._is_open = count == 1
        self._constants: dict[str, Array] = {}
        self._ones: dict[str, Array] = {}
        self._places = dict.fromkeys(graph.inputs, _Place(0))
        self._made: dict[str, TensorInfo] = {}
        self._nodes: list[Node] = []
        for node in graph.nodes:
            self._nodes.append(self._visit(node))

    def graph(self) -> Graph:
        """The graph that results."""
        info = {value: self._info(value) for value in self._places}
        constants = {**self._constants, **self._ones}  # so that `without_repeats` leaves no others in another order
        return self._graph.with_constants(constants).with_nodes(self._nodes, {**info, **self._made})

    def require_first(self) -> None:
        """Make sure that all that is given and returned has its images, and nothing else, along the first axis."""
        for value in (*self._graph.inputs, *self._graph.outputs):
            shape = self._graph.shape(value)
            if shape[:1] != (1,) or self._places.get(value) != _Place(0):
                raise InputError(f"the first axis of {value!r}, of shape {shape}, is not that of images alone")

    def _visit(self, node: Node) -> Node:
        if self._places.keys().isdisjoint(node.inputs):
            return node
        rule = _RULES.get(node.op)
        if rule is None:
            raise self._unknown(node)
        place, restated = rule(self, node)
        for value in filter(None, node.outputs):
            self._require(self._places.setdefault(value, place), value, node)
        return restated

    def _info(self, value: str) -> TensorInfo:
        info, place = self._graph.info[value], self._places[value]
        sides = list(info.shape)
        sides[place.axis] //= self._count
        return replace(info, shape=tuple(sides))

    def _require(self, place: _Place, value: str, node: Node) -> None:
        shape = self._graph.shape(value)
        if place.axis >= len(shape) or shape[place.axis] != place.outer * self._count * place.inner:
            raise self._unknown(node)

    # --- rules: where the images are in what a node returns, and the node for one of them -----------------------

    def by_number(self, node: Node) -> tuple[_Place, Node]:
        """Operators that compute each number from those at its own place, operands repeated to fit."""
        return self._aligned(node, range(len(node.inputs)))

    def sampled(self, node: Node) -> tuple[_Place, Node]:
        """GridSample, whose operands are not repeated."""
        if self._is_open and self._beside(node):
            raise self._unknown(node)
        return self._aligned(node, range(len(node.inputs)))

    def first_axis(self, node: Node) -> tuple[_Place, Node]:
        """Operators to which the first axis is the batch."""
        place = self._only(node)
        if place.axis != 0:
            raise self._coupled(node)
        return place, node

    def grown(self, node: Node) -> tuple[_Place, Node]:
        """What is repeated or gets borders, along other axes than that of the images."""
        place, rank = self._only(node), len(self._graph.shape(node.inputs[0]))
        stated, axes = (self._graph.constants.get(node.input(index)) for index in (1, 3))
        if stated is None:
            raise self._unknown(node)
        axes = np.arange(rank) if axes is None else axes.reshape(-1) % rank
        along = stated.reshape(-1, len(axes))[:, axes == place.axis]
        if (along != (1 if node.op == "Tile" else 0)).any():
            raise self._coupled(node)
        return place, node

    def along_axis(self, node: Node) -> tuple[_Place, Node]:
        """Operators that bring numbers along an axis, or from it on, to a common measure."""
        place = self._only(node)
        rank = len(self._graph.shape(node.inputs[0]))
        axis = node.int("axis", -1) % rank
        if axis == place.axis or (node.op == "LayerNormalization" and axis < place.axis):
            raise self._coupled(node)
        return place, node

    def reduced(self, node: Node) -> tuple[_Place, Node]:
        """Sums, means and the like over axes."""
        place, rank = self._only(node), len(self._graph.shape(node.inputs[0]))
        stated = self._graph.constants.get(node.input(1), np.asarray(node.ints("axes"), np.int64)).reshape(-1)
        if node.op.startswith("Arg"):
            stated = np.asarray([node.int("axis")])
        axes = {int(axis) % rank for axis in stated} or set(range(rank))
        if place.axis in axes:
            raise self._coupled(node)
        gone = 0 if node.int("keepdims", 1) else sum(axis < place.axis for axis in axes)
        return replace(place, axis=place.axis - gone), node

    def reshaped(self, node: Node) -> tuple[_Place, Node]:
        """What keeps the numbers in their order."""
        place, before = self._place(node, 0), self._graph.shape(node.inputs[0])
        after = self._graph.shape(node.output)
        step = place.inner * prod(before[place.axis + 1 :])  # from an image to the next
        belows = [prod(after[axis + 1 :]) for axis in range(len(after))]
        possible = [
            _Place(axis, side * below // (step * self._count), step // below)
            for axis, (side, below) in enumerate(zip(after, belows, strict=True))
            if step % below == 0 and (side * below) % (step * self._count) == 0
        ]
        if not possible:
            raise self._unknown(node)
        found = min(possible, key=lambda each: (each.outer, each.inner))
        target = self._target(node, after, found, of_any=-1)
        return found, replace(node, op="Reshape", inputs=(node.inputs[0], target), attributes={})

    def flattened(self, node: Node) -> tuple[_Place, Node]:
        """Two axes, of all before one and of all from it on."""
        place, before = self._only(node), self._graph.shape(node.inputs[0])
        middle = node.int("axis", 1) % len(before) if node.int("axis", 1) < 0 else node.int("axis", 1)
        begin, end = (0, middle) if place.axis < middle else (middle, len(before))
        outer = prod(before[begin : place.axis]) * place.outer
        inner = prod(before[place.axis + 1 : end]) * place.inner
        return _Place(int(place.axis >= middle), outer, inner), node

    def squeezed(self, node: Node) -> tuple[_Place, Node]:
        """Without axes of one element: those stated, or all."""
        stated = self._graph.constants.get(node.input(1))
        if stated is None:
            return self.reshaped(node)
        place, rank = self._only(node), len(self._graph.shape(node.inputs[0]))
        axes = {int(axis) % rank for axis in stated.reshape(-1)}
        if place.axis in axes:
            raise self._unknown(node)
        return replace(place, axis=place.axis - sum(axis < place.axis for axis in axes)), node

    def unsqueezed(self, node: Node) -> tuple[_Place, Node]:
        """With more axes of one element."""
        place, rank = self._only(node), len(self._graph.shape(node.output))
        axes = {int(axis) % rank for axis in self._graph.constants[node.inputs[1]].reshape(-1)}
        return replace(place, axis=[axis for axis in range(rank) if axis not in axes][place.axis]), node

    def transposed(self, node: Node) -> tuple[_Place, Node]:
        """Axes in another order."""
        place, rank = self._only(node), len(self._graph.shape(node.inputs[0]))
        perm = node.ints("perm", tuple(reversed(range(rank))))
        return replace(place, axis=perm.index(place.axis)), node

    def expanded(self, node: Node) -> tuple[_Place, Node]:
        """What is repeated to a target."""
        after = self._graph.shape(node.output)
        place = self._shifted(node, 0, len(after))
        if self._is_open and place.axis != 0:
            raise self._unknown(node)
        return place, replace(node, inputs=(node.inputs[0], self._target(node, after, place, of_any=1)))

    def resized(self, node: Node) -> tuple[_Place, Node]:
        """Maps of another size."""
        place = self._only(node)
        sizes = self._graph.constants.get(node.input(3))
        if place.axis != 0:
            raise self._unknown(node)
        if sizes is None or not sizes.size or node.ints("axes"):
            return place, node
        if self._is_open:
            before, after = (
                np.asarray(self._graph.shape(value), np.float32) for value in (node.inputs[0], node.output)
            )
            scales = after / before
            if (np.floor(before * scales) != after).any():
                raise self._unknown(node)
            return place, replace(node, inputs=(*node.inputs[:2], self._named(f"{node.output}/scales", scales)))
        target = self._named(f"{node.output}/sizes", np.concatenate([sizes[:1] // self._count, sizes[1:]]))
        return place, replace(node, inputs=(*node.inputs[:3], target))

    def joined(self, node: Node) -> tuple[_Place, Node]:
        """Concat: side by side, or batches one after the other."""
        rank = len(self._graph.shape(node.output))
        axis = node.int("axis") % rank
        places = {self._places.get(value) for value in node.inputs}
        place = next(filter(None, places))
        if axis != place.axis:
            if self._is_open and None in places:
                return place, self._with_repeated(node, place)
            return self._aligned(node, range(len(node.inputs)))
        if len(places) > 1 or len({self._graph.shape(value) for value in node.inputs}) > 1:
            raise self._unknown(node)
        return replace(place, outer=place.outer * len(node.inputs)), node

    def sliced(self, node: Node) -> tuple[_Place, Node]:
        """A part of a value along other axes than that of the images, of which all are taken."""
        place, shape = self._only(node), self._graph.shape(node.inputs[0])
        starts, ends = (self._graph.constants[value] for value in node.inputs[1:3])
        axes = self._graph.constants.get(node.input(3), np.arange(len(starts))) % len(shape)
        steps = self._graph.constants.get(node.input(4), np.ones(len(starts), np.int64))
        of_images = axes == place.axis
        is_whole = (starts == 0) & (ends >= shape[place.axis]) & (steps == 1)
        if not is_whole[of_images].all():
            raise self._coupled(node)
        if not self._is_open or (ends[of_images] == _ANY).all():
            return place, node
        last = self._named(f"{node.output}/ends", np.where(of_images, _ANY, ends))
        return place, replace(node, inputs=(*node.inputs[:2], last, *node.inputs[3:]))

    def taken(self, node: Node) -> tuple[_Place, Node]:
        """Parts of a value, by their places along another axis than that of the images."""
        place = self._only(node)
        axis = node.int("axis") % len(self._graph.shape(node.inputs[0]))
        if axis == place.axis:
            raise self._coupled(node)
        more = len(self._graph.shape(node.input(1))) - 1 if node.op == "Gather" and axis < place.axis else 0
        return replace(place, axis=place.axis + more), node

    def multiplied(self, node: Node) -> tuple[_Place, Node]:
        """MatMul and Gemm: images are among the rows, the columns, or the matrices."""
        rank, found = len(self._graph.shape(node.output)), set()
        for index, own in ((0, -2), (1, -1)):  # the axis of its two last that each operand hands on
            if (place := self._places.get(node.input(index))) is None:
                continue
            ndim = len(self._graph.shape(node.inputs[index]))
            from_end = place.axis - ndim
            if node.op == "Gemm" and node.int("transA" if index == 0 else "transB"):
                from_end = -3 - from_end
            if from_end >= -2 and from_end != own:
                raise self._coupled(node)
            found.add(replace(place, axis=from_end + rank))
        if len(found) != 1:
            raise self._coupled(node)
        place = found.pop()
        inputs = list(node.inputs)
        for index, value in enumerate(inputs):
            if value in self._graph.constants and (index == 2 or place.axis < rank - 2):
                inputs[index] = self._of_one(value, place, rank, node)
        return place, replace(node, inputs=tuple(inputs))

    def recurrent(self, node: Node) -> tuple[_Place, Node]:
        """Layers whose second axis is the batch, of what they return the last but one."""
        place = self._place(node, 0)
        if place.axis != 1 or node.int("layout"):
            raise self._coupled(node)
        inputs = list(node.inputs)
        if self._is_open and any(inputs[4:7]):
            raise self._unknown(node)
        if node.input(4) in self._graph.constants:
            inputs[4] = self._named(node.inputs[4], self._graph.constants[node.inputs[4]][:1])
        for index in (5, 6):
            if node.input(index) in self._graph.constants:
                inputs[index] = self._of_one(node.inputs[index], place, 3, node)
        for value in filter(None, node.outputs):
            self._places[value] = replace(place, axis=len(self._graph.shape(value)) - 2)
        return self._places[next(filter(None, node.outputs))], replace(node, inputs=tuple(inputs))

    # --- what they share ---------------------------------------------------------------------------------------

    def _with_repeated(self, node: Node, place: _Place) -> Node:
        """A Concat with what is the same for all images, as class tokens are, repeated for as many as there are."""
        beside = self._beside(node)
        sources = [value for value in node.inputs if value in self._places]
        if {_Place(place.axis)} != {self._places[value] for value in sources}:
            raise self._unknown(node)
        number, target = (fresh_name(self._graph, f"{node.output}/{part}") for part in ("number", "target"))
        rank = len(self._graph.shape(node.output))
        before, behind = (self._of_ones(sides) for sides in (place.axis, rank - place.axis - 1))
        integers = np.dtype(np.int64)
        self._insert("Shape", (sources[0],), number, TensorInfo((1,), integers), start=place.axis, end=place.axis + 1)
        self._insert("Concat", (before, number, behind), target, TensorInfo((rank,), integers), axis=0)
        repeated = {value: fresh_name(self._graph, f"{node.output}/{value}") for value in beside}
        for value, name in repeated.items():
            self._insert("Expand", (value, target), name, self._graph.info[value])
        return replace(node, inputs=tuple(repeated.get(value, value) for value in node.inputs))

    def _of_ones(self, sides: int) -> str:
        name = fresh_name(self._graph, f"ones/{sides}")
        self._ones[name] = np.ones(sides, np.int64)
        return name

    def _insert(self, op: str, inputs: tuple[str, ...], output: str, info: TensorInfo, **attributes: int) -> None:
        """Append a node that was not there, before the one that is looked at."""
        self._made[output] = info
        self._nodes.append(Node(fresh_node_name(self._graph, output), op, inputs, (output,), attributes))

    def _target(self, node: Node, after: tuple[int, ...], place: _Place, of_any: int) -> str:
        """The name of a shape with one image, or with any number, which `of_any` stands for."""
        sides = list(after)
        sides[place.axis] = of_any if self._is_open else sides[place.axis] // self._count
        stated = self._graph.constants.get(node.input(1))
        if stated is not None and stated.reshape(-1).tolist() == sides:
            return node.inputs[1]
        return self._named(f"{node.output}/shape", np.asarray(sides, np.int64))

    def _aligned(self, node: Node, operands: range) -> tuple[_Place, Node]:
        rank = len(self._graph.shape(node.output))
        places = {self._shifted(node, index, rank) for index in operands if node.input(index) in self._places}
        if len(places) > 1:
            raise self._coupled(node)
        place = places.pop()
        if self._is_open and not all(self._fits_any(value, place, rank) for value in self._beside(node)):
            raise self._unknown(node)
        inputs = tuple(
            self._of_one(value, place, rank, node) if value in self._graph.constants else value for value in node.inputs
        )
        return place, replace(node, inputs=inputs)

    def _beside(self, node: Node) -> list[str]:
        """Operands that are the same for all images."""
        return [value for value in node.inputs if value and value not in self._places]

    def _fits_any(self, value: str, place: _Place, rank: int) -> bool:
        """Whether an operand is repeated along the axis of images, however many there are.

        Files hold some repeated already, from the first axis on that they have more than one element along; there
        images must have an axis of their own.
        """
        shape = (1,) * (rank - len(self._graph.shape(value))) + self._graph.shape(value)
        has_own_axis = place == _Place(place.axis) and shape[place.axis] == 1
        return has_own_axis or prod(shape) == 1 or (place.axis == 0 and shape[0] == 1)

    def _of_one(self, value: str, place: _Place, rank: int, node: Node) -> str:
        """A constant operand as one image sees it, which all must see alike."""
        array = self._graph.constants[value]
        axis = place.axis - rank + array.ndim
        if axis < 0 or array.shape[axis] == 1:
            return value
        if self._is_open:
            raise self._unknown(node)
        parts = array.reshape(*array.shape[:axis], place.outer, self._count, place.inner, *array.shape[axis + 1 :])
        one = parts.take([0], axis + 1)
        if not np.array_equal(np.broadcast_to(one, parts.shape), parts):
            raise InputError(
                f"node {node.name!r} ({node.op}) treats the {self._count} images of a batch differently, by {value!r}",
                remedy=f"{_REMEDY}.",
            )
        return self._named(value, one.reshape(*array.shape[:axis], -1, *array.shape[axis + 1 :]))

    def _place(self, node: Node, index: int) -> _Place:
        place = self._places.get(node.input(index))
        if place is None:
            raise self._unknown(node)
        return place

    def _only(self, node: Node) -> _Place:
        """The place of a node's first input, which is the only one that images decide."""
        if any(value in self._places for value in node.inputs[1:]):
            raise self._unknown(node)
        return self._place(node, 0)

    def _shifted(self, node: Node, index: int, rank: int) -> _Place:
        place = self._place(node, index)
        return replace(place, axis=place.axis + rank - len(self._graph.shape(node.inputs[index])))

    def _named(self, stem: str, array: Array) -> str:
        name = fresh_name(self._graph, f"{stem}/{'any_number' if self._is_open else 'one_image'}")
        while name in self._constants and not np.array_equal(self._constants[name], array):
            name += "_"
        self._constants[name] = np.ascontiguousarray(array)
        return name

    def _coupled(self, node: Node) -> InputError:
        if self._is_open:
            return InputError(f"node {node.name!r} ({node.op}) mixes the images of a batch")
        return InputError(
            f"node {node.name!r} ({node.op}) mixes the {self._count} images of a batch: the answer for one of them "
            "depends on the others, and alone it would be that of another network",
            remedy=f"{_REMEDY}, if that is how it is used, and check its accuracy as such.",
        )

    def _unknown(self, node: Node) -> InputError:
        if self._is_open:
            return InputError(f"node {node.name!r} ({node.op}): how it would take several images is not known")
        return InputError(
            f"node {node.name!r} ({node.op}): how it takes a batch of {self._count} images apart is not known",
            remedy=f"{_REMEDY}.",
        )


_BY_NUMBER = (
    "Abs Add And Cast Ceil Clip Cos Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual "
    "HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow "
    "Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh ThresholdedRelu Where Xor"
)
_FIRST_AXIS = (
    "AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool "
    "InstanceNormalization LRN LpPool MaxPool SpaceToDepth"
)
_REDUCED = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_BY_NUMBER.split(), _Restated.by_number),
    **dict.fromkeys(_FIRST_AXIS.split(), _Restated.first_axis),
    **dict.fromkeys(
        ("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "Softmax"), _Restated.along_axis
    ),
    **dict.fromkeys(("Gather", "Split"), _Restated.taken),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _Restated.recurrent),
    **dict.fromkeys(("Gemm", "MatMul"), _Restated.multiplied),
    **dict.fromkeys(("ArgMax", "ArgMin"), _Restated.reduced),
    **{f"Reduce{what}": _Restated.reduced for what in _REDUCED.split()},
    **dict.fromkeys(("Pad", "Tile"), _Restated.grown),
    "Concat": _Restated.joined,
    "Expand": _Restated.expanded,
    "Flatten": _Restated.flattened,
    "GridSample": _Restated.sampled,
    "Reshape": _Restated.reshaped,
    "Resize": _Restated.resized,
    "Slice": _Restated.sliced,
    "Squeeze": _Restated.squeezed,
    "Transpose": _Restated.transposed,
    "Unsqueeze": _Restated.unsqueezed,
}
