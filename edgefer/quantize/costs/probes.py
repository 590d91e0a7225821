"""What operators cost on a machine: each is run by itself, in int8 and in float, and a line is fitted for each kind.

What is run are TFLite files that hold a few copies of an operator, or many, side by side: what many take longer, over
how many there are more, is what one takes, without what any file takes.  They have the shapes of EfficientNets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.ir import Graph
from edgefer.plan import Compute, Plan
from edgefer.quantize.costs.cost import CostModel, Line, work
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.ranges import affine

FEW, MANY = 1, 4
"""Copies; not more, for their results must stay in the cache, as they do in a network."""

MAPS = ((32, 32), (96, 32), (96, 16), (144, 16), (240, 8), (480, 4), (672, 4), (1152, 2))
"""Channels and size of the feature maps of EfficientNet-B0 at 64 x 64."""

DENSE = (
    *((32, 16, 32), (16, 96, 32), (96, 24, 16), (24, 144, 16), (144, 40, 8), (40, 240, 8), (240, 80, 4), (80, 480, 4)),
    *((480, 112, 4), (672, 192, 2), (192, 1152, 2), (1152, 320, 2), (320, 1280, 2), (1152, 48, 1), (48, 1152, 1)),
)  # fmt: skip
"""Inputs, outputs and size of its 1x1 convolutions."""

Measure: TypeAlias = Callable[[Sequence[Sequence[bytes]]], Sequence[Sequence[float]]]
"""What one inference of each TFLite file costs; those of a group are compared, so that they are run in turns."""

_Make: TypeAlias = Callable[[GraphBuilder, str, str], str]


class _Row(NamedTuple):
    """What one operator was found to cost, and what its line makes of it."""

    cost: float
    elements: int
    macs: int


def measured_costs(machine: str, unit: str, measure: Measure) -> CostModel:
    """A machine's cost model.

    Args:
        machine: in words.
        unit: of what `measure` returns, `ns` or `instructions`.
        measure: runs files there.

    Raises:
        ValueError: what was measured fits no line.
    """
    operators = [(_side_by_side(shape, make, FEW), _side_by_side(shape, make, MANY)) for shape, make in _operators()]
    groups = [[emit_tflite(graph, plan(graph)) for plan in (_int8, _float) for graph in pair] for pair in operators]
    groups += [
        [emit_tflite(*_read_in_float(shape, copies, stored)) for stored in (True, False) for copies in (FEW, MANY)]
        for shape in MAPS
    ]
    found = [_of_one(costs) for costs in measure(groups)]
    rows: dict[tuple[str, Compute], list[_Row]] = {}
    for (graph, _), (in_int8, in_float) in zip(operators, found[: len(operators)], strict=True):
        found_work = work(graph, graph.nodes[0])
        rows.setdefault((found_work.kind, "int8"), []).append(_Row(in_int8, *found_work.size))
        rows.setdefault((found_work.kind, "float"), []).append(_Row(in_float, *found_work.size))
    conversions = [
        _Row(converted - plain, channels * side**2, 0)
        for (channels, side), (converted, plain) in zip(MAPS, found[len(operators) :], strict=True)
    ]
    return CostModel(machine, unit, {key: fitted(each) for key, each in rows.items()}, fitted(conversions))


def fitted(rows: Sequence[tuple[float, int, int]]) -> Line:
    """The line with the least sum of squared relative errors that is nowhere negative.

    Args:
        rows: cost, elements and multiply-accumulates of operators.

    Raises:
        ValueError: there is none, as nothing costs anything.
    """
    table = np.array([(1, elements, macs) for _, elements, macs in rows], np.float64)
    costs = np.maximum([cost for cost, *_ in rows], 1e-3 * max(cost for cost, *_ in rows))
    if not costs.max() > 0:
        raise ValueError("operators cost nothing")
    relative = table / costs[:, np.newaxis]
    best, least = np.zeros(3), np.inf
    for count in range(1, 4):
        for columns in map(list, combinations(np.flatnonzero(table.any(axis=0)), count)):
            found, *_ = np.linalg.lstsq(relative[:, columns], np.ones(len(rows)), rcond=None)
            error = float(np.square(relative[:, columns] @ found - 1).sum())
            if found.min() >= 0 and error < least:
                best, least = np.zeros(3), error
                best[columns] = found
    return Line(*(float(f"{number:.3g}") for number in best))


def _of_one(costs: Sequence[float]) -> tuple[float, float]:
    """What one copy costs in either way, of few and many copies in the one, and in the other."""
    one, many, other, many_other = costs
    return (many - one) / (MANY - FEW), (many_other - other) / (MANY - FEW)


def _operators() -> Iterator[tuple[tuple[int, int], _Make]]:
    """Channels and size of an input, and what makes one operator on it."""
    for inputs, outputs, size in DENSE:
        yield (inputs, size), partial(_conv, (outputs, inputs, 1, 1), 1)
    for channels, size in MAPS:
        for taps in (3, 5):
            yield (channels, size), partial(_conv, (channels, 1, taps, taps), channels)
        yield (channels, size), lambda build, x, name: build.sigmoid(name, x)
        yield (channels, size), lambda build, x, name: build.global_average_pool(name, x)
        for op in ("Mul", "Add", "Concat"):
            yield (channels, size), partial(_of_two, op, (1, channels, size, size))


def _conv(shape: tuple[int, int, int, int], groups: int, build: GraphBuilder, x: str, name: str) -> str:
    rng = np.random.default_rng(list(name.encode()))  # copies have weights of their own, as layers of a network do
    weights, biases = (rng.normal(size=size).astype(np.float32) for size in (shape, shape[0]))
    return build.conv(name, x, weights, biases, padding=shape[2] // 2, groups=groups)


def _of_two(op: str, shape: tuple[int, ...], build: GraphBuilder, x: str, name: str) -> str:
    """An operator on `x` and another input: what is multiplied with itself would be looked up in a table."""
    other = build.input(f"{name}_other", shape)
    return build.op(op, name, x, other, **({"axis": 1} if op == "Concat" else {}))


def _side_by_side(shape: tuple[int, int], make: _Make, copies: int) -> Graph:
    build = GraphBuilder("probe")
    x = build.input("x", (1, shape[0], shape[1], shape[1]))
    return build.graph(*(make(build, x, f"y{index}") for index in range(copies)))


def _int8(graph: Graph) -> Plan:
    """All of it in int8, for inputs and outputs that look normally distributed."""
    histogram = Histogram()
    histogram.add(np.random.default_rng(0).normal(size=1000).astype(np.float32))
    return plan_int8(graph, dict.fromkeys(tensors_to_observe(graph), histogram))


def _float(graph: Graph) -> Plan:
    return Plan()


def _read_in_float(shape: tuple[int, int], copies: int, stored: bool) -> tuple[Graph, Plan]:
    """Inputs, each with a float operator that reads it; they are int8 or float."""
    build = GraphBuilder("probe")
    inputs = [build.input(f"x{index}", (1, shape[0], shape[1], shape[1])) for index in range(copies)]
    graph = build.graph(*(build.sigmoid(f"y{index}", x) for index, x in enumerate(inputs)))
    return graph, Plan(dict.fromkeys(inputs, affine(-4, 4)) if stored else {})
