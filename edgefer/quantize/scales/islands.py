"""Which nodes compute in int8: those that have integer kernels, but for what int8 cannot hold, or lies amid float.

What is light and could compute in either does so in float where that needs no further conversion, and loses nothing:
behind a node in float, as the scale and shift of a normalisation, or before one, as a mask that is added before a
Softmax, or the keys that what a Softmax made is multiplied by, if the products are summed in float.  What only moves
numbers does where it lies between two.  So does a Split of which float alone reads, as of queries, keys and values:
what goes in is converted once, not each part.
"""

from __future__ import annotations

from edgefer.graph.ir import Graph, Node
from edgefer.quantize.scales.integer_kernels import has_integer_kernel, values_read
from edgefer.quantize.scales.unstorable import filled_values, is_read_by_root

_LIGHT = frozenset({"Add", "Clip", "Mul", "Relu", "Sub"})
_SHAPING = frozenset({"Expand", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_MOVING = _SHAPING | {"Concat", "DepthToSpace", "Gather", "Slice", "SpaceToDepth", "Split"}


def integer_nodes(graph: Graph, keep_float: frozenset[str] = frozenset()) -> list[Node]:
    """The nodes that compute in int8, in network order.

    Args:
        graph: normalised.
        keep_float: names of nodes that compute in float in any case.
    """
    filled = filled_values(graph) - graph.constants.keys()
    kernels = [
        node
        for node in graph.nodes
        if node.name not in keep_float
        and has_integer_kernel(graph, node)
        and filled.isdisjoint((*values_read(node), *node.outputs))
        and not is_read_by_root(graph, node)
    ]
    names = {node.name for node in kernels}
    while True:
        floats = {node.name for node in kernels if node.name in names and _belongs_to_float(graph, node, names)}
        if not floats:
            return [node for node in kernels if node.name in names]
        names -= floats


def _belongs_to_float(graph: Graph, node: Node, integer: set[str]) -> bool:
    computed = [value for value in values_read(node) if not graph.is_constant(value)]
    is_made = [_is_made_in_float(graph, value, integer) for value in computed]
    is_read = all(_is_read_in_float(graph, value, integer) for value in node.outputs)
    if node.op in _MOVING:
        return is_read and (all(is_made) or node.op == "Split")
    if node.op not in _LIGHT:
        return False
    converted = [
        made or _has_float_reader(graph, value, integer) for value, made in zip(computed, is_made, strict=True)
    ]
    left = converted.count(False)  # to be converted instead of what is made of it
    return (any(is_made) and not left) or (is_read and left <= 1)


def _is_made_in_float(graph: Graph, value: str, integer: set[str]) -> bool:
    node = graph.producers.get(value)
    if node is None:
        return False
    if node.name not in integer:
        return True
    return node.op in _MOVING and all(
        graph.is_constant(source) or _is_made_in_float(graph, source, integer) for source in values_read(node)
    )


def _is_read_in_float(graph: Graph, value: str, integer: set[str]) -> bool:
    readers = graph.consumers.get(value, ())
    return bool(readers) and all(
        node.name not in integer
        or (node.op in _MOVING and all(_is_read_in_float(graph, output, integer) for output in node.outputs))
        for node in readers
    )


def _has_float_reader(graph: Graph, value: str, integer: set[str]) -> bool:
    return any(node.name not in integer for node in graph.consumers.get(value, ()))
