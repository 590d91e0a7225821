"""Which nodes may come to integers one step apart in the two files: where no scale keeps a result from a tie.

Products of weights, and what only moves numbers, are the same to the bit in both runtimes.  So are sums, products,
means and curves whose scales `avoid_ties` could nudge.  Float arithmetic is the same as long as it is single operations
of IEEE 754; sums of many numbers and transcendental functions are not, and where such a result is stored as an
integer, it may be the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from edgefer.emit.onnx import MADE_IN_FLOAT
from edgefer.graph.ir import Graph, Node
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import SAME_SCALE
from edgefer.quantize.scales.ranges import CURVES
from edgefer.quantize.scales.ties import is_off_ties

_PRODUCTS = frozenset(["Conv", "Gemm", "MatMul"])
_SINGLE = SAME_SCALE - {"Resize"} | {
    *("Abs", "Add", "Cast", "Ceil", "Floor", "GlobalMaxPool", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg"),
    *("PRelu", "ReduceMax", "ReduceMin", "Round", "Sub", "Where"),
}


def that_may_differ(graph: Graph, plan: Plan) -> list[str]:
    """Nodes whose stored results may differ by a step between the files, as "Op (value it makes)", in network order."""
    found = []
    exact: set[str] = {*graph.inputs, *graph.constants}
    for node in graph.nodes:
        is_int8 = plan.is_int8(node.name)
        if is_int8:
            same = _is_same_in_int8(graph, node, plan.tensors)
        else:
            same = _is_same_in_float(node, exact) or _is_same_curve(graph, node, plan)
        if node.op not in MADE_IN_FLOAT if is_int8 else same:
            exact.update(node.outputs)
        if not same and not plan.tensors.keys().isdisjoint(node.outputs):
            found.append(f"{node.op} ({node.output})")
            exact.update(node.outputs)  # but for that step
    return found


def _is_same_in_float(node: Node, exact: Set[str]) -> bool:
    return node.op in _SINGLE and set(filter(None, node.inputs)) <= exact


def _is_same_curve(graph: Graph, node: Node, plan: Plan) -> bool:
    """Whether float computes a curve of integers, none of which it brings near a tie."""
    maker = graph.producers.get(node.inputs[0]) if node.op in CURVES else None
    is_of_integers = maker is not None and plan.is_int8(maker.name) and node.output in plan.tensors
    return is_of_integers and is_off_ties(graph, node, plan.tensors)


def _is_same_in_int8(graph: Graph, node: Node, tensors: Mapping[str, QuantParams]) -> bool:
    if node.op in SAME_SCALE:
        return node.op != "Resize" or node.str("mode", "nearest") == "nearest"
    if node.op in _PRODUCTS:
        return True
    if node.op == "AveragePool" and any(node.ints("pads")) and not node.int("count_include_pad"):
        return False
    return is_off_ties(graph, node, tensors)
