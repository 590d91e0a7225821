"""Scales with which no result lies halfway between two integers, where runtimes round differently.

With both input scales of an Add a whole number of the output scale's odd fractions, every sum is a multiple of that
fraction in output steps, so at least half a fraction away from a tie; and so for means and products.  What curves make
of the 256 integers that they can read is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from edgefer.graph.ir import Graph, Node
from edgefer.plan import QuantParams
from edgefer.quantize.scales.integer_kernels import FIXED_OUTPUT
from edgefer.quantize.scales.ranges import CURVES, affine

_SUM_FRACTIONS = 1023  # kernels that add round to about 1 / 8000
_FINE_FRACTIONS = 16383  # those that multiply or average, to about 1 / 40000; their steps are finer than the output's

_FEWEST = 8  # fractions in a scale that is nudged: a far quieter operand, or a mean of very many, would be ruined

_CURVE_MARGIN = 1e-3  # in steps of the output; kernels approximate curves to about 1 / 30000
_TRIES = 64


def avoid_ties(
    graph: Graph, nodes: Iterable[Node], find: Callable[[str], str], chosen: dict[str, QuantParams], fixed: set[str]
) -> None:
    """Nudge the scales of `chosen`.

    Args:
        graph: normalised.
        nodes: of the graph that compute in int8, and curves that float computes of integers, in order.
        find: the group of tensors stored alike that a value belongs to.
        chosen: parameters by group; changed in place.
        fixed: groups whose parameters are prescribed.
    """
    settled = set(fixed)
    made = {find(value): index for index, value in reversed([*enumerate(_in_order(graph))])}  # when, of a group's first
    wholes: dict[str, float] = {}  # by group, of what its scale is a whole fraction
    for node in nodes:
        output, inputs = find(node.output), [find(value) for value in node.inputs]
        if node.op in CURVES and node.op in FIXED_OUTPUT:
            if inputs[0] not in settled or inputs[0] in wholes:
                chosen[inputs[0]] = _beside_ties(node.op, chosen[inputs[0]], wholes.get(inputs[0]))
        elif output in settled or output in inputs:
            continue  # prescribed, or stored like what it is made of
        elif node.op in CURVES:
            source, larger = chosen[inputs[0]], _larger(chosen[output])
            chosen[output] = next(
                (each for each in larger if _distance(node.op, source, each) > _CURVE_MARGIN), chosen[output]
            )
            settled.add(output)
        elif node.op in ("AveragePool", "GlobalAveragePool", "Mul"):
            count = _averaged(graph, node)
            factors = [constant_params(graph, v) if graph.is_constant(v) else chosen[find(v)] for v in node.inputs]
            whole = prod(factor.scale[0] for factor in factors) / count * _FINE_FRACTIONS
            if not _is_near(whole, chosen[output]):
                continue
            wholes[output] = whole
            chosen[output] = next(_fractions(chosen[output], whole))
            settled.add(output)
        elif node.op in ("Add", "Sub") and not any(map(graph.is_constant, node.inputs)):
            first, *others = sorted(set(inputs), key=lambda root: (root not in settled, made[root]))
            if len(others) != 1 or others[0] in settled:
                continue
            whole = chosen[first].scale[0] * _SUM_FRACTIONS
            total, other = chosen[output], chosen[others[0]]
            if not (_is_near(whole, total) and _is_near(other.scale[0] * _SUM_FRACTIONS, total)):
                continue
            chosen[output] = next(_fractions(total, whole))
            fraction = chosen[output].scale[0] / _SUM_FRACTIONS
            chosen[others[0]] = _scaled_to(other, fraction * round(other.scale[0] / fraction))
            settled.add(output)
        else:
            continue
        for root in inputs:
            settled.add(root)
            wholes.pop(root, None)


def _in_order(graph: Graph) -> list[str]:
    """All values that are no constants, inputs first; names, which converters give as they like, decide nothing."""
    return [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]


def is_off_ties(graph: Graph, node: Node, tensors: Mapping[str, QuantParams]) -> bool:
    """Whether no result of a sum, product, mean or curve in int8 can lie where kernels round it differently."""
    output = tensors[node.output]
    if node.op in CURVES:
        return _distance(node.op, tensors[node.inputs[0]], output) > _CURVE_MARGIN
    if node.op in ("AveragePool", "GlobalAveragePool"):
        fractions = tensors[node.inputs[0]].scale[0] / _averaged(graph, node) / output.scale[0] * _FINE_FRACTIONS
        return abs(fractions - round(fractions)) <= 1e-3 + fractions * 2.0**-22 < fractions
    if node.op not in _PAIRS:
        return False
    combine, margin = _PAIRS[node.op]
    first, second = (_readable(graph, value, tensors[value]) for value in node.inputs)
    results = combine.outer(first, second) / output.scale[0]
    low, high = (limit - output.zero_point[0] for limit in output.limits)
    within = results[(results > low) & (results < high)]
    return bool(np.abs(within - np.floor(within) - 0.5).min(initial=0.5) > margin)


_PAIRS: Mapping[str, tuple[np.ufunc, float]] = {
    "Add": (np.add, 0.5 / _SUM_FRACTIONS / 2),
    "Sub": (np.subtract, 0.5 / _SUM_FRACTIONS / 2),
    "Mul": (np.multiply, 0.33 / _FINE_FRACTIONS),
}
"""What two operands come to, and how near to a tie, in steps of the output, kernels may still round to either side."""


def _readable(graph: Graph, value: str, params: QuantParams) -> npt.NDArray[np.float64]:
    """All numbers that a value, stored so, can have."""
    low, high = params.limits
    stored = (
        np.unique(params.quantize(graph.constants[value])) if graph.is_constant(value) else np.arange(low, high + 1)
    )
    return params.scale[0] * (stored.astype(np.float64) - params.zero_point[0])


def _averaged(graph: Graph, node: Node) -> int:
    """How many elements a mean is of; windows at a border that count fewer are few."""
    if node.op == "Mul":
        return 1
    return prod(node.ints("kernel_shape") or graph.shape(node.inputs[0])[2:])


def constant_params(graph: Graph, value: str, floor: float = 0.0) -> QuantParams:
    """How a constant is stored that is no weight, with a scale of `floor` at least."""
    array = graph.constants[value]
    return coarser(affine(float(array.min()), float(array.max())), floor)


def coarser(params: QuantParams, floor: float) -> QuantParams:
    """`params` with a scale of `floor` at least."""
    return params if params.scale[0] >= floor else _scaled_to(params, floor)


def _beside_ties(op: str, params: QuantParams, whole: float | None) -> QuantParams:
    """The first parameters near `params` with which no integer's value on the curve is near a tie."""
    nearby = _fractions(params, whole) if whole else _larger(params)
    made = FIXED_OUTPUT[op]
    return next((candidate for candidate in nearby if _distance(op, candidate, made) > _CURVE_MARGIN), params)


def _distance(op: str, params: QuantParams, output: QuantParams) -> float:
    """How near the curve of integers stored so comes to a tie, in steps of its output."""
    low, high = params.limits
    curve = CURVES[op](params.scale[0] * (np.arange(low, high + 1) - params.zero_point[0]).astype(np.float64))
    steps = curve / output.scale[0]
    return float(np.abs(steps - np.floor(steps) - 0.5).min())


def _is_near(whole: float, params: QuantParams) -> bool:
    """Whether the nearest whole fraction of `whole` is near the scale: at most 1 / (2 * _FEWEST) away."""
    return whole >= _FEWEST * params.scale[0]


def _fractions(params: QuantParams, whole: float) -> Iterator[QuantParams]:
    """`params` with scales that are whole fractions of `whole`: the nearest, then smaller ones."""
    nearest = round(whole / params.scale[0])
    return (_scaled_to(params, whole / (nearest + index)) for index in range(_TRIES))


def _larger(params: QuantParams) -> Iterator[QuantParams]:
    return (_scaled_to(params, params.scale[0] * (1 + index / _FINE_FRACTIONS)) for index in range(_TRIES))


def _scaled_to(params: QuantParams, scale: float) -> QuantParams:
    return replace(params, scale=(float(np.float32(scale)),))
