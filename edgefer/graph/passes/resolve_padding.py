"""State padding once: as explicit `pads` on the operator that needs it.

Exporters write TensorFlow's asymmetric "same" padding in three ways: `auto_pad`, a Pad node before the
convolution, or explicit pads.  After this pass only the last is left.
"""

from __future__ import annotations

from dataclasses import replace

from edgefer.graph.ir import Attribute, Graph, Node
from edgefer.graph.passes.rewrite import scalar_constant
from edgefer.graph.patterns import is_never_negative

_NEVER_LARGEST = -1e4  # what pads with less means to lose
_WINDOWED = {"Conv", "MaxPool", "AveragePool", "LpPool"}


def resolve_padding(graph: Graph) -> Graph:
    """A graph with explicit pads, padding merged into the convolutions and largest-of-window pools that follow it."""
    nodes = [_with_explicit_pads(graph, node) for node in graph.nodes]
    graph = graph.with_nodes(nodes) if any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)) else graph
    merged = [_absorb_pad(graph, node) for node in graph.nodes]
    return graph.with_nodes(merged) if any(a is not b for a, b in zip(merged, graph.nodes, strict=True)) else graph


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's "same" padding along one axis, before and after: the odd pixel goes after.

    The output has ceil(size / stride) elements.
    """
    needed = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return needed // 2, needed - needed // 2


def _with_explicit_pads(graph: Graph, node: Node) -> Node:
    mode = node.str("auto_pad", "NOTSET")
    if node.op not in _WINDOWED or "auto_pad" not in node.attributes:
        return node
    attributes: dict[str, Attribute] = {key: value for key, value in node.attributes.items() if key != "auto_pad"}
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        kernel = node.ints("kernel_shape") or graph.shape(node.inputs[1])[2:]
        rank = len(kernel)
        sizes = graph.shape(node.inputs[0])[2:]
        axes = zip(sizes, kernel, node.ints("strides", (1,) * rank), node.ints("dilations", (1,) * rank), strict=True)
        pairs = [same_pads(*axis) for axis in axes]
        before, after = zip(*(pair if mode == "SAME_UPPER" else pair[::-1] for pair in pairs), strict=True)
        attributes["pads"] = (*before, *after)
    return replace(node, attributes=attributes)


def _absorb_pad(graph: Graph, node: Node) -> Node:
    """A Conv or MaxPool that pads for itself what a Pad node did; dead nodes are another pass's business."""
    pad = graph.producers.get(node.inputs[0]) if node.op in ("Conv", "MaxPool") else None
    if pad is None or pad.op != "Pad" or pad.str("mode", "constant") != "constant":
        return node
    amounts = graph.constants.get(pad.input(1))
    if amounts is None or pad.input(3) or not _pads_alike(graph, node, pad):
        return node
    pads = [int(amount) for amount in amounts]
    rank = len(pads) // 2
    if any(pads[axis] or pads[axis + rank] for axis in (0, 1)) or min(pads) < 0:
        return node
    spatial = (*pads[2:rank], *pads[rank + 2 :])
    own = node.ints("pads", (0,) * len(spatial))
    total = tuple(a + b for a, b in zip(own, spatial, strict=True))
    if node.op == "MaxPool" and not _sees_elements(node, total):
        return node
    return replace(node, inputs=(pad.inputs[0], *node.inputs[1:]), attributes={**node.attributes, "pads": total})


def _pads_alike(graph: Graph, node: Node, pad: Node) -> bool:
    """Whether `node` itself would put the same around its input: zeros, or for a MaxPool what never is largest."""
    fill = scalar_constant(graph, pad.input(2)) if pad.input(2) else 0.0
    if node.op == "Conv" or fill is None:
        return fill == 0.0
    return fill <= _NEVER_LARGEST or (fill <= 0.0 and is_never_negative(graph, pad.inputs[0]))


def _sees_elements(pool: Node, pads: tuple[int, ...]) -> bool:
    """Whether every window of a pool, padded so, has elements of its input, and the same number of windows."""
    kernel = pool.ints("kernel_shape")
    plain = len(pool.outputs) == 1 and not pool.int("ceil_mode") and set(pool.ints("dilations")) <= {1}
    return plain and all(amount < taps for amount, taps in zip(pads, kernel * 2, strict=True))
