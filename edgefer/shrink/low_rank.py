"""Layers in two steps, through fewer channels than they make, where that is cheaper than making fewer.

    y = W x + b    becomes    y = U (U' W x) + b + (1 - U U') W m

with the first r principal directions U of what the layer makes of calibration images, and its mean W m: of all ways
through r channels it leaves the most of the variance (Zhang et al., 2016, arXiv:1505.06798).  A layer of K weights for
each of its n channels pays for it with r (K + n) weights instead of K n.  The r channels are a group each, and can go
like others later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from edgefer.graph.ir import Feed, Graph, Node, fresh_name, fresh_node_name
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.rewrite import substitute
from edgefer.graph.regions import mixes_channels
from edgefer.quantize.observe.guesses import channel_samples
from edgefer.quantize.scales.ranges import Values

_LEAST_WEIGHTS = 1 << 15
"""Layers of fewer are left as they are: a further layer takes time of its own."""

_SHARES = (2 / 3, 1 / 2, 1 / 3, 1 / 4)
"""Of a layer's weights so many may be left."""

_NOTHING = 1e-6  # of the variance
_STEP = 8  # channels between are a multiple of this


class _Way(NamedTuple):
    """Of a layer: the variance lost, of all that it makes, for each weight saved; how many those are; and the rank."""

    price: float
    saved: int
    node: str
    rank: int


def through_fewer(graph: Graph, feeds: Sequence[Feed], saving: float) -> Graph | None:
    """The graph with layers in two steps, those first that lose least for each weight, until so many are saved.

    Args:
        graph: the float network, one input.
        feeds: calibration inputs.
        saving: weights; None is returned where no layer can save any.
    """
    layers = {node.name: node for node in graph.nodes if _is_large(graph, node)}
    directions = _directions(graph, list(layers.values()), feeds)
    ways = [way for name, node in layers.items() for way in _ways(graph, node, directions[name][0])]
    done: set[str] = set()
    for way in sorted(ways, key=lambda way: (way.price, -way.saved)):
        if saving <= 0:
            break
        if way.node not in done:
            graph = _in_two(graph, graph.named[way.node], *directions[way.node][1:], way.rank)
            done.add(way.node)
            saving -= way.saved
    return remove_dead(graph) if done else None


def _is_large(graph: Graph, node: Node) -> bool:
    if node.op not in ("Conv", "Gemm") or not mixes_channels(graph, node):
        return False
    weights = graph.constants[node.inputs[1]]
    return weights.size >= _LEAST_WEIGHTS and len(graph.consumers[node.inputs[1]]) == 1


def _directions(
    graph: Graph, layers: Sequence[Node], feeds: Sequence[Feed]
) -> Mapping[str, tuple[Values, Values, Values]]:
    """For each layer, of what it makes before its activation: variances, their directions in columns, and the mean."""
    twins = {node.name: fresh_name(graph, f"{node.name}/made") for node in layers}
    copies = [
        replace(node, name=fresh_node_name(graph, twins[node.name]), outputs=(twins[node.name],), activation="")
        for node in layers
    ]
    info = {twins[node.name]: graph.info[node.output] for node in layers}
    seen = channel_samples(graph.with_nodes((*graph.nodes, *copies), info), list(twins.values()), feeds)
    found = {}
    for node in layers:
        samples = seen[twins[node.name]].astype(np.float64)
        mean = samples.mean(axis=1)
        variances, columns = np.linalg.eigh(np.cov(samples, ddof=min(samples.shape[1] - 1, 1)))
        found[node.name] = np.maximum(variances[::-1], 0), columns[:, ::-1], mean
    return found


def _ways(graph: Graph, node: Node, variances: Values) -> list[_Way]:
    weights = graph.constants[node.inputs[1]].size
    outputs = len(variances)
    found = []
    for share in _SHARES:
        rank = int(share * weights / (weights / outputs + outputs)) // _STEP * _STEP
        saved = weights - rank * (weights // outputs + outputs)
        if _STEP <= rank < outputs and saved > 0:
            lost = float(variances[rank:].sum() / max(variances.sum(), 1e-30))
            found.append(_Way(max(lost, _NOTHING) / saved, saved, node.name, rank))
    return found


def _in_two(graph: Graph, node: Node, directions: Values, mean: Values, rank: int) -> Graph:
    """The graph with a layer through its first directions."""
    kept = directions[:, :rank]
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    is_transposed = node.op == "Gemm" and not node.int("transB")
    rows = (weights.T if is_transposed else weights).reshape(len(kept), -1)
    first = (kept.T @ rows).reshape(rank, *(weights.T if is_transposed else weights).shape[1:])
    bias = mean - kept @ (kept.T @ (mean - _bias(graph, node)))
    stem = node.name
    names = {part: fresh_name(graph, f"{stem}/{part}") for part in ("first", "second", "bias", "between")}
    second = kept.reshape(*kept.shape, *([1] * (first.ndim - 2)))
    constants = {
        names["first"]: (first.T if is_transposed else first).astype(np.float32),
        names["second"]: (second.T if is_transposed else second).astype(np.float32),
        names["bias"]: bias.astype(np.float32),
    }
    shape = graph.shape(node.output)
    info = {names["between"]: replace(graph.info[node.output], shape=(shape[0], rank, *shape[2:]))}
    making = replace(
        node,
        name=fresh_node_name(graph, f"{stem}/first"),
        inputs=(node.inputs[0], names["first"]),
        outputs=(names["between"],),
        activation="",
    )
    inputs = (names["between"], names["second"], names["bias"])
    attributes = _of_one_pixel(len(shape) - 2) if node.op == "Conv" else node.attributes
    reading = replace(node, inputs=inputs, attributes=attributes)
    return substitute(graph, {node.name: [making, reading]}, constants, info)


def _bias(graph: Graph, node: Node) -> Values:
    found: Values = graph.constants[node.inputs[2]].reshape(-1).astype(np.float64) if node.input(2) else np.zeros(1)
    return found


def _of_one_pixel(rank: int) -> dict[str, int | tuple[int, ...]]:
    ones = (1,) * rank
    return {"kernel_shape": ones, "strides": ones, "dilations": ones, "pads": (0,) * (2 * rank), "group": 1}
