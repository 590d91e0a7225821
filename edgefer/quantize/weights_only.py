"""Small weights, and nothing else: stored in int8 (`w8`) or float16 (`fp16`), while all arithmetic is in float.

A GPU computes what is stored in float16 in float16 too, whose largest number is 65,504.  So what the network makes of
faces is looked at: means of many numbers, which are sums before they are divided, are taken an axis at a time, and what
is normalised, or whose length is taken, is made smaller first, which changes nothing; what is too large all the same
is refused, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Literal, TypeAlias

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Array, Feed, Graph, Node
from edgefer.graph.passes.formula import Formula, Term
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.rewrite import scalar_constant
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.fit.correct import correct
from edgefer.quantize.method import FITTED_ON, Quantized
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.recorded import recorded
from edgefer.quantize.scales.unstorable import filled_values
from edgefer.quantize.solve.ways import with_stored_weights
from edgefer.spec import Spec

Precision: TypeAlias = Literal["int8", "w8", "fp16"]

LARGEST = float(np.finfo(np.float16).max)
"""What float16 can hold."""

_ROOM = 4.0
"""Faces to come may make numbers so many times as large as those looked at."""

_NORMS = frozenset(["InstanceNormalization", "LayerNormalization"])
_EPSILON = 1e-5  # ONNX's default for both


def quantize_weights(graph: Graph, precision: Precision, images: ImageSet, spec: Spec) -> Quantized:
    """The network with small weights.

    Args:
        graph: normalised, pixels in and meanings out.
        precision: `w8` or `fp16`.
        images: that show how large activations become, and what rounded weights must be made up for.
        spec: how they become what the network is fed.

    Raises:
        InputError: float16 cannot hold what a layer makes.
    """
    feeds = list(iter_feeds(recorded(graph, images, spec).some(FITTED_ON), spec))
    if precision == "fp16":
        graph = within_float16(graph, _largest(graph, feeds))
        plan = with_stored_weights(graph, Plan(), frozenset(graph.named))
        for name in plan.tensors:
            _require(float(np.abs(graph.constants[name]).max(initial=0)), f"weights {name!r} are numbers")
        plan = Plan(dict.fromkeys(plan.tensors, FLOAT16), plan.nodes)
    else:
        graph, plan = correct(graph, with_stored_weights(graph, Plan(), frozenset(graph.named)), feeds)
    return Quantized(graph, plan, 0, (), 0, (), None)


FLOAT16 = QuantParams("float16", (1.0,), (0,), narrow=True)
"""How weights are stored that are real numbers all the same."""


def _largest(graph: Graph, feeds: Sequence[Feed]) -> Mapping[str, float]:
    filled = filled_values(graph)
    values = [
        value
        for node in graph.nodes
        for value in node.outputs
        if value and value not in filled and graph.info[value].dtype == np.float32 and value not in graph.outputs
    ]
    found = collect(graph, values, feeds)
    return {value: max(-histogram.minimum, histogram.maximum) for value, histogram in found.items()}


def within_float16(graph: Graph, sizes: Mapping[str, float]) -> Graph:
    """The same network, of which float16 holds every step.

    Args:
        graph: normalised.
        sizes: the largest size that each value is known to have.

    Raises:
        InputError: a value is too large by itself.
    """
    lengths = {root.name: squares for root in graph.nodes if (squares := _squares_under(graph, root)) is not None}
    inside = {node.name for squares in lengths.values() for node in squares}
    for node in graph.nodes:
        if node.name in inside:
            continue
        for value in node.outputs:
            _require(sizes.get(value, 0.0), f"node {node.name!r} ({node.op}) makes numbers")
    for node in graph.nodes:
        size = sizes.get(node.inputs[0], 0.0) if node.inputs else 0.0
        if node.op == "GlobalAveragePool" and len(graph.shape(node.inputs[0])) == 4:
            graph = _mean_by_axis(graph, node, size)
        elif node.op in _NORMS and (2 * size) ** 2 * _ROOM > LARGEST:
            graph = _smaller_norm(graph, node, size)
        elif node.name in lengths and size * _ROOM > LARGEST:
            graph = _smaller_length(graph, node, *lengths[node.name], size)
    return graph


def _mean_by_axis(graph: Graph, node: Node, size: float) -> Graph:
    """A mean of rows, and of those, where the sum of all would be too large."""
    height, width = graph.shape(node.inputs[0])[2:]
    if size * height * width * _ROOM <= LARGEST:
        return graph
    _require(size * max(height, width), f"node {node.name!r} ({node.op}) adds up to numbers")
    at = Formula(graph, node)
    return at.become(at.input(0).over("ReduceMean", 3).over("ReduceMean", 2))


def _smaller_norm(graph: Graph, node: Node, size: float) -> Graph:
    """What is normalised, and the number that keeps from dividing by zero, in another unit: its squares fit."""
    unit = 2.0 ** -ceil(log2(2 * size * np.sqrt(_ROOM / LARGEST)))
    at = Formula(graph, node)
    epsilon = node.float("epsilon", _EPSILON) * unit**2
    others: list[Term | Array] = [at.input(index) for index in range(1, len(node.inputs))]
    return at.become((at.input(0) * unit).to(node.op, *others, **{**node.attributes, "epsilon": epsilon}))


def _squares_under(graph: Graph, root: Node) -> tuple[Node, Node] | None:
    """What squares and what adds the squares up, where a root is of nothing but that: a length."""
    total = graph.producers.get(root.inputs[0]) if root.op == "Sqrt" else None
    if total is None or total.op != "ReduceSum" or graph.sole_consumer(total.output) is None:
        return None
    square = graph.producers.get(total.inputs[0])
    if square is None or square.activation or graph.sole_consumer(square.output) is None:
        return None
    by_itself = square.op == "Mul" and square.inputs[0] == square.inputs[1]
    is_square = by_itself or (square.op == "Pow" and scalar_constant(graph, square.inputs[1]) == 2.0)
    return (square, total) if is_square else None


def _smaller_length(graph: Graph, root: Node, square: Node, total: Node, size: float) -> Graph:
    """The length in another unit, whose squares fit together, and then in its own."""
    unit = 2.0 ** -ceil(log2(size * _ROOM / LARGEST) / 2)
    at = Formula(graph, root)
    x = at.value(square.inputs[0]) * unit
    axes = [at.value(value) for value in total.inputs[1:]]
    length = (x * x).to("ReduceSum", *axes, **total.attributes).to("Sqrt")
    return remove_dead(at.become(length * (1 / unit)))


def _require(size: float, what: str) -> None:
    if size > LARGEST:
        raise InputError(
            f"{what} of up to {size:,.0f}, where float16 holds no more than {LARGEST:,.0f}",
            remedy="--precision w8 computes in float32, and its files are half as large.",
        )
