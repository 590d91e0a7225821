"""What 256 numbers cannot hold: fills far from everything else, and what counts near zero, as roots read it."""

from __future__ import annotations

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.rewrite import scalar_constant

FILL = 1e4
"""What is as large stands for infinity: masks, and borders that no window is to choose."""

_SHAPING = frozenset(["Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"])
_MOVING = _SHAPING | {"Concat", "Gather", "Pad", "Slice", "Split"}
_HANDING_ON = _MOVING | {"Add", "Div", "Max", "Min", "Mul", "Neg", "Sub", "Where"}
_FILLED_BY = frozenset(["Add", "Concat", "Max", "Min", "Pad", "Sub", "Where"])
_BIASED = frozenset(["Conv", "ConvTranspose", "Gemm"])
_MEANS = frozenset(["AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"])
_BY_A_CONSTANT = frozenset(["Add", "Clip", "Div", "Max", "Min", "Mul", "Relu", "Sub"])
_WITHOUT_WEIGHTS = _MOVING | _MEANS | _BY_A_CONSTANT
_WITHOUT_SIGN = frozenset(["Clip", "Max", "Relu"])


def filled_values(graph: Graph) -> frozenset[str]:
    """The values that may hold a fill, for which a range would have no numbers left for the rest."""
    found = {value for value, array in graph.constants.items() if _is_fill(array)}
    for node in graph.nodes:
        handed = [value for value in node.inputs if value in found]
        hands_on = node.op in _HANDING_ON and any(not graph.is_constant(v) or node.op in _FILLED_BY for v in handed)
        if hands_on or (node.op in _BIASED and _is_mask(graph.constants.get(node.input(2)))):
            found.update(node.outputs)
    return frozenset(found)


def is_read_by_root(graph: Graph, node: Node) -> bool:
    """Whether what `node` makes, a mean or sum or the like, goes into a root, logarithm or divisor.

    Those are steep at zero, where int8 has one number for all that is small.
    """
    return node.op in _WITHOUT_WEIGHTS and _leads_to_root(graph, node, with_sign=False)


def must_keep_sign(graph: Graph, layer: Node) -> bool:
    """Whether what a layer makes goes into a root, logarithm or divisor with its sign.

    There is none below zero, where a correction of the layer's weights or biases could lead.
    """
    return not layer.activation and _leads_to_root(graph, layer, with_sign=True)


def _leads_to_root(graph: Graph, node: Node, with_sign: bool) -> bool:
    """Whether a root reads what `node` makes, or what others make of it with constants alone."""
    for value in node.outputs:
        for reader in graph.consumers.get(value, ()):
            if _is_steep(graph, reader, value):
                return True
            if _hands_on(graph, reader, value, with_sign) and _leads_to_root(graph, reader, with_sign):
                return True
    return False


def _hands_on(graph: Graph, node: Node, value: str, with_sign: bool) -> bool:
    if node.op in _MOVING | _MEANS:
        return True
    computed = [read for read in node.inputs if read and not graph.is_constant(read)]
    loses_sign = node.op in _WITHOUT_SIGN or len(computed) > 1  # as a square does
    return node.op in _BY_A_CONSTANT and set(computed) == {value} and not (with_sign and loses_sign)


def _is_fill(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and bool(np.abs(array).max() >= FILL)


def _is_mask(bias: np.ndarray | None) -> bool:
    """Whether a bias fills some channels, not all."""
    return bias is not None and _is_fill(bias) and bool(np.abs(bias).min() < FILL)


def _is_steep(graph: Graph, node: Node, value: str) -> bool:
    if node.op == "Pow":
        exponent = scalar_constant(graph, node.input(1))
        return exponent is not None and exponent < 1
    return node.op in ("Log", "Reciprocal", "Sqrt") or (node.op == "Div" and value == node.input(1))
