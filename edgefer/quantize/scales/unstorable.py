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
_MEANS = frozenset(["AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"])
_BY_A_CONSTANT = frozenset(["Add", "Clip", "Div", "Max", "Min", "Mul", "Relu", "Sub"])
_WITHOUT_WEIGHTS = _MOVING | _MEANS | _BY_A_CONSTANT


def filled_values(graph: Graph) -> frozenset[str]:
    """The values that may hold a fill, for which a range would have no numbers left for the rest."""
    found = {value for value, array in graph.constants.items() if _is_fill(array)}
    for node in graph.nodes:
        handed = [value for value in node.inputs if value in found]
        if node.op in _HANDING_ON and any(not graph.is_constant(v) or node.op in _FILLED_BY for v in handed):
            found.update(node.outputs)
    return frozenset(found)


def is_read_by_root(graph: Graph, node: Node) -> bool:
    """Whether what `node` makes, a mean or sum or the like, goes into a root, logarithm or divisor.

    Those are steep at zero, where int8 has one number for all that is small.
    """
    if node.op not in _WITHOUT_WEIGHTS:
        return False
    for value in node.outputs:
        for reader in graph.consumers.get(value, ()):
            if _is_steep(graph, reader, value):
                return True
            passes = reader.op in _MOVING | _MEANS or (
                reader.op in _BY_A_CONSTANT and all(v == value or graph.is_constant(v) for v in reader.inputs if v)
            )
            if passes and is_read_by_root(graph, reader):
                return True
    return False


def _is_fill(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and bool(np.abs(array).max() >= FILL)


def _is_steep(graph: Graph, node: Node, value: str) -> bool:
    if node.op == "Pow":
        exponent = scalar_constant(graph, node.input(1))
        return exponent is not None and exponent < 1
    return node.op in ("Log", "Reciprocal", "Sqrt") or (node.op == "Div" and value == node.input(1))
