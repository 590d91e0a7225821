"""Statistics become a Plan: everything int8 that has integer kernels, with ranges that minimise the error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.patterns import find_silus
from edgefer.graph.slopes import fractions
from edgefer.plan import Compute, Plan, QuantParams
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.integer_kernels import (
    FIXED_OUTPUT,
    SAME_SCALE,
    SMALLEST_SUMMAND,
    bias_params,
    is_representable,
    smallest_scales,
    values_read,
    weight_axis,
)
from edgefer.quantize.scales.islands import integer_nodes
from edgefer.quantize.scales.ranges import (
    CURVES,
    PLAIN,
    Caution,
    View,
    identity,
    mse_optimal,
    per_channel_symmetric,
    silu,
)
from edgefer.quantize.scales.ties import avoid_ties, coarser, constant_params

_CLIPPING = frozenset({"Clip", "MaxPool", "Relu"})
"""What lets through a part of the values that it reads."""


def tensors_to_observe(graph: Graph, keep_float: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The activations whose distribution `plan_int8` needs to know, in network order."""
    layout = _lay_out(graph, keep_float)
    wanted = dict.fromkeys(value for node in layout.nodes for value in _activations(graph, node))
    return tuple(value for value in wanted if layout.groups.find(value) not in layout.fixed)


def plan_int8(
    graph: Graph,
    histograms: Mapping[str, Histogram],
    keep_float: frozenset[str] = frozenset(),
    prescribed: Mapping[str, QuantParams] = MappingProxyType({}),
    caution: Caution = PLAIN,
) -> Plan:
    """The Plan in which every node with an integer kernel computes in int8.

    Args:
        graph: normalised.
        histograms: of `tensors_to_observe(graph, keep_float)`.
        keep_float: names of nodes that compute in float all the same.
        prescribed: parameters of activations that are decided already.
        caution: for values that are larger than most.
    """
    layout = _lay_out(graph, keep_float)
    layout.fixed.update({layout.groups.find(value): params for value, params in prescribed.items()})
    silu_inputs = frozenset(pattern.x for pattern in find_silus(graph))
    groups = layout.groups.members()
    chosen = {
        root: layout.fixed.get(root) or _group_params(graph, members, histograms, silu_inputs, caution)
        for root, members in groups.items()
    }
    names, stored = {node.name for node in layout.nodes}, layout.groups.parents.keys()
    curves = CURVES.keys() - FIXED_OUTPUT.keys()  # float computes them, of integers
    rounded = [n for n in graph.nodes if n.name in names or (n.op in curves and {*n.inputs, *n.outputs} <= stored)]
    avoid_ties(graph, rounded, layout.groups.find, chosen, set(layout.fixed))
    _coarsen_summands(graph, layout, groups, chosen)
    tensors = {member: chosen[root] for root, members in groups.items() for member in members}
    nodes: dict[str, Compute] = {}
    in_int8 = {node.name for node in layout.nodes}
    for node in layout.nodes:
        constants = _constant_params(graph, node, tensors, in_int8)
        if any(tensors.get(name, params) != params for name, params in constants.items()):
            continue  # a constant shared with a node that needs it in other units
        if not is_representable(node, {**tensors, **constants}):
            continue
        tensors.update(constants)
        nodes[node.name] = "int8"
    read = {value for node in graph.nodes if node.name in nodes for value in (*node.inputs, *node.outputs)}
    return Plan({name: params for name, params in tensors.items() if name in read}, nodes)


@dataclass
class _Groups:
    """Sets of tensors that are stored alike (union-find)."""

    parents: dict[str, str] = field(default_factory=dict)

    def add(self, values: list[str]) -> None:
        for value in values:
            self.parents.setdefault(value, value)

    def find(self, value: str) -> str:
        while value != self.parents.get(value, value):
            value = self.parents[value]
        return value

    def join(self, values: list[str], root: str) -> None:
        for value in values:
            self.parents[self.find(value)] = root

    def members(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for value in list(self.parents):
            found.setdefault(self.find(value), []).append(value)
        return found


@dataclass
class _Layout:
    """Which nodes compute in int8, which tensors they store alike, and which groups kernels prescribe."""

    nodes: list[Node]
    groups: _Groups
    fixed: dict[str, QuantParams]


def _lay_out(graph: Graph, keep_float: frozenset[str]) -> _Layout:
    layout = _Layout([], _Groups(), {})
    names = {node.name for node in integer_nodes(graph, keep_float)}
    for node in graph.nodes:
        if node.op in FIXED_OUTPUT:  # also of one that computes in float: what is observed is the same for all Plans
            layout.fixed[layout.groups.find(node.output)] = FIXED_OUTPUT[node.op]
        if node.name not in names:
            continue
        activations = _activations(graph, node)
        roots = list(dict.fromkeys(layout.groups.find(value) for value in activations))
        if node.op in SAME_SCALE:
            prescribed = {layout.fixed[root] for root in roots if root in layout.fixed}
            inputs = {layout.groups.find(value) for value in values_read(node) if not graph.is_constant(value)}
            if prescribed and (len(prescribed) > 1 or not inputs <= layout.fixed.keys()):
                continue  # a Concat of tensors that cannot be stored alike
            layout.groups.join(roots, roots[0])
            if prescribed:
                layout.fixed[roots[0]] = prescribed.pop()
        layout.groups.add(activations)
        layout.nodes.append(node)
    for node in graph.nodes:
        if {node.inputs[0], node.output} <= layout.groups.parents.keys() and fractions(graph, node) is not None:
            roots = [layout.groups.find(value) for value in (node.inputs[0], node.output)]
            if layout.fixed.keys().isdisjoint(roots):
                layout.groups.join(roots, roots[0])
    return layout


def _coarsen_summands(
    graph: Graph, layout: _Layout, groups: Mapping[str, list[str]], chosen: dict[str, QuantParams]
) -> None:
    """Give what is added, and read by nothing else, steps that are large enough beside the sum's."""
    for node in layout.nodes:
        for value in node.inputs if node.op in ("Add", "Sub") else ():
            root = layout.groups.find(value)
            members = groups.get(root, []) if root not in layout.fixed else []
            if members and all(graph.consumers.get(m) == (node,) or _stays_inside(graph, m, members) for m in members):
                floor = SMALLEST_SUMMAND * chosen[layout.groups.find(node.output)].scale[0]
                chosen[root] = coarser(chosen[root], floor)


def _activations(graph: Graph, node: Node) -> list[str]:
    return [value for value in (*values_read(node), *node.outputs) if value and not graph.is_constant(value)]


def _group_params(
    graph: Graph, members: list[str], histograms: Mapping[str, Histogram], silu_inputs: frozenset[str], caution: Caution
) -> QuantParams:
    """Parameters for tensors that are stored alike, judged by what their readers outside the group see."""
    seen = [value for value in members if not _only_clipped(graph, value, members)] or members
    views = {_view(graph, value, silu_inputs) for value in seen if not _stays_inside(graph, value, members)}
    merged = reduce(Histogram.merged, (histograms[value] for value in seen if value in histograms))
    if all(value in graph.producers and graph.producers[value].activation == "Relu6" for value in seen):
        caution = replace(caution, beyond=1.0)  # nothing is louder
    return mse_optimal(merged, views.pop() if len(views) == 1 else identity, caution)


def _stays_inside(graph: Graph, value: str, members: list[str]) -> bool:
    readers = graph.consumers.get(value, ())
    return (
        bool(readers)
        and value not in graph.outputs
        and all(node.op in SAME_SCALE and node.output in members for node in readers)
    )


def _only_clipped(graph: Graph, value: str, members: list[str]) -> bool:
    """Whether all that is read of `value` is what a Relu, Clip or MaxPool inside the group lets through."""
    return _stays_inside(graph, value, members) and all(node.op in _CLIPPING for node in graph.consumers[value])


def _view(graph: Graph, value: str, silu_inputs: frozenset[str]) -> View:
    """The function through which all readers see `value`, where they see it through the same one."""
    readers = graph.consumers.get(value, ())
    if value in graph.outputs or not readers:
        return identity
    operators = {node.op for node in readers}
    if operators == {"Sigmoid", "Mul"} and value in silu_inputs and len(readers) == 2:
        return silu
    return CURVES.get(operators.pop(), identity) if len(operators) == 1 else identity


def _constant_params(
    graph: Graph, node: Node, tensors: Mapping[str, QuantParams], in_int8: Collection[str]
) -> dict[str, QuantParams]:
    """Parameters of the constants that `node` computes with; tied weights suit the biases of all that read them so."""
    axis = weight_axis(graph, node)
    if axis is None:
        constants = [value for value in values_read(node) if graph.is_constant(value)]
        floor = SMALLEST_SUMMAND * tensors[node.output].scale[0] if node.op in ("Add", "Sub") else 0.0
        return {value: constant_params(graph, value, floor) for value in constants}
    name = node.inputs[1]
    tied = [
        each
        for each in graph.consumers[name]
        if each.name in in_int8 and weight_axis(graph, each) == axis and each.inputs[1] == name
    ]
    floor = np.max([smallest_scales(graph, each, tensors[each.inputs[0]]) for each in tied], axis=0)
    params = per_channel_symmetric(graph.constants[name], axis, floor)
    found = {name: params}
    if node.input(2):
        axis = graph.constants[node.inputs[2]].ndim - 1
        found[node.inputs[2]] = bias_params(tensors[node.inputs[0]], params, axis)
    return found
