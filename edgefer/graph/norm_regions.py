"""Channel regions along the last axis: what a LayerNormalization makes, up to the products that read it.

Its scale and bias can take a factor for each channel that the weights behind it take back, exactly.
"""

from __future__ import annotations

from edgefer.graph.ir import Graph, Node
from edgefer.graph.patterns import is_plain_gemm
from edgefer.graph.regions import ChannelConstant, Region

_MOVING = frozenset(["Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"])


def find_norm_regions(graph: Graph) -> tuple[Region, ...]:
    """Every region that one LayerNormalization over the last axis makes, in network order, found for its scale."""
    regions = (_region(graph, node) for node in graph.nodes if node.op == "LayerNormalization")
    return tuple(region for region in regions if region is not None)


def _region(graph: Graph, norm: Node) -> Region | None:
    """The region; None where something that cannot take factors back reads it, or constants are shared."""
    shape = graph.shape(norm.output)
    if graph.shape(norm.inputs[1]) != shape[-1:] or len(norm.outputs) > 1:
        return None
    values, inside, readers = [norm.output], [], []
    for node in graph.nodes:
        if node.inputs and node.inputs[0] in values:
            if _reads_last_axis(graph, node):
                readers.append(node)
            elif _keeps_last_axis(graph, node):
                inside.append(node)
                values.append(node.output)
            else:
                return None
        elif set(node.inputs[1:]).intersection(values):
            return None
    constants = [*(ChannelConstant(name, -1, 1) for name in norm.inputs[1:]), *(_weighed(node) for node in readers)]
    are_own = all(graph.is_constant(each.name) and len(graph.consumers[each.name]) == 1 for each in constants)
    if not readers or not are_own or set(values).intersection(graph.outputs):
        return None
    return Region(shape[-1], tuple(values), (norm,), tuple(inside), tuple(readers), tuple(constants), axis=-1)


def _reads_last_axis(graph: Graph, node: Node) -> bool:
    """Whether it multiplies by constant weights, one row or column for each channel."""
    weights = node.input(1)
    if not graph.is_constant(weights) or len(graph.shape(weights)) != 2:
        return False
    return node.op == "MatMul" or (node.op == "Gemm" and is_plain_gemm(graph, node))


def _weighed(node: Node) -> ChannelConstant:
    return ChannelConstant(node.inputs[1], 1 if node.op == "Gemm" and node.int("transB") else 0, -1)


def _keeps_last_axis(graph: Graph, node: Node) -> bool:
    """Whether it moves numbers, and the last axis of what it makes is that of what it reads."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
    is_last = node.op != "Transpose" or node.ints("perm")[-1] == len(before) - 1
    return node.op in _MOVING and is_last and before[-1] == after[-1]
