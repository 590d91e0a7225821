"""Layers corrected: weights rounded, then gains and biases, so that outputs have the means and slopes of float.

For a linear layer y = W x + b, whose int8 version y' reads the quantized network's own x (but what a float node makes,
as it makes it, before it is stored),

    y' = W' x' + b    becomes    g (y' - E[y']) + E[y]    with    g = var(y) / cov(y, y')

per output channel, over calibration images.  The mean is empirical bias correction (Nagel et al., 2019,
arXiv:1906.04721).  The slope of y' over y makes up for what saturates or is rounded towards zero before the layer,
most of all in SiLU, whose sigmoid has no 1: it shrinks by little in each layer, and by percents at the heads.
(The slope of y over y' would take noise for signal, and shrink it further.)  Neither costs anything in the
artifacts: gains go into the scales of weights, whose integers stay what `rounding` made them.  Weights that several
layers read are rounded for all of them, where they lie in one piece, and keep their scales; biases are their own.

Layers are treated in network order, so that each makes up for the errors of all before it.  The network runs piece
by piece between its cut points.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph, Node
from edgefer.graph.subgraph import cut_points, extract, observing
from edgefer.host.on_disk import Rows
from edgefer.host.threads import ahead
from edgefer.plan import Plan
from edgefer.quantize.fit.rounding import Inputs, rounded
from edgefer.quantize.observe.per_image import Reached, each_image, run, run_each, runnable, some_rows, spread
from edgefer.quantize.scales.integer_kernels import bias_params
from edgefer.quantize.scales.ranges import Values
from edgefer.quantize.scales.unstorable import must_keep_sign

_SIDE = 6  # at most so many rows and columns of each feature map are looked at
_ROWS = 64  # likewise, where a Gemm makes several for an image
_CORRELATED = 0.5  # share of a channel's power that must be signal for its slope to count
_CHANNELS = 32  # whose values are float64 together
_KEPT = 1 << 18  # numbers in a value that is kept, in a file, for all images; larger ones are computed again

_Samples: TypeAlias = tuple[int, list[Array]]
"""So many images, and samples of some values for them."""


def correct(
    graph: Graph, plan: Plan, feeds: Sequence[Feed], advance: Callable[[], None] = lambda: None
) -> tuple[Graph, Plan]:
    """`graph` and `plan` with layers of stored weights whose outputs are right in their means and slopes.

    Args:
        graph: the float network.
        plan: how it is stored; weights that are corrected are on its grid then, others go to the nearest integer.
        feeds: calibration inputs.
        advance: called after each of `pieces(graph)` pieces.
    """
    current = graph
    quantized: Iterable[Feed] = feeds
    for piece in ahead(_float_pieces(graph, plan, feeds)):
        for node, wanted in zip(piece.layers, piece.expected, strict=True):
            if node.name in piece.rounded:
                current = current.with_constants({node.inputs[1]: piece.rounded.pop(node.name)})
            watched = _watching(
                _with_stored_weights(current, plan, node), piece.start, [], [_alone(node, _stored(node))]
            )
            (found,) = _blocks(run([runnable(watched, plan)], quantized, _all_sampled), len(feeds))
            gain, shift = _affine(wanted, found, with_slope=len(_tied(graph, node)) == 1)
            current, plan = _corrected(current, plan, node, gain, shift)
        if piece.end not in graph.outputs:
            network = extract(current, _behind(graph, piece.start), [piece.end])
            stored = runnable(observing(network, [piece.end]), plan)
            quantized = Reached(piece.end, Rows(reached for (reached,) in run_each([stored], quantized)), feeds)
        advance()
    return current, plan


@dataclass(frozen=True)
class _Piece:
    """A part of the network between cut points, and what it does in float.

    Attributes:
        start: the value that it reads.
        end: the first that it makes for the next.
        layers: to be corrected, in network order.
        rounded: weights of some of them, by name.
        expected: samples of what each of them returns for each of the feeds.
    """

    start: str
    end: str
    layers: tuple[Node, ...]
    rounded: dict[str, Array]
    expected: tuple[Array, ...]


def _float_pieces(graph: Graph, plan: Plan, feeds: Sequence[Feed]) -> Iterator[_Piece]:
    """All pieces, in network order; of `plan`, only what is stored matters."""
    ends = _piece_ends(graph)
    exact: Iterable[Feed] = feeds
    for start, outputs in zip((graph.inputs[0], *(end for end, *_ in ends)), ends, strict=False):
        nodes = extract(graph, _behind(graph, start), outputs).nodes
        layers = tuple(node for node in nodes if _can_be_corrected(graph, plan, node))
        names = {node.name for node in layers}
        inputs = {node.name: Inputs(graph, node) for node in layers if _can_be_rounded(graph, node, names)}
        reached = Rows()
        samples = _float_outputs(graph, start, outputs[0], layers, inputs, exact, reached)
        expected = _blocks(samples, len(feeds))
        exact = Reached(outputs[0], reached, feeds)
        yield _Piece(start, outputs[0], layers, _rounded(graph, plan, inputs), tuple(expected))


def pieces(graph: Graph) -> int:
    """How many pieces `correct` goes through."""
    return len(_piece_ends(graph))


def _piece_ends(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Small cut points with a linear layer before each; the last piece ends with the network's outputs."""
    linear = {node.output for node in graph.nodes if node.op in ("Conv", "Gemm")}
    ends: list[tuple[str, ...]] = []
    seen = False
    cuts = {value for value in cut_points(graph) if prod(graph.shape(value)) <= _KEPT}
    for node in graph.nodes:
        seen = seen or node.output in linear
        if seen and node.output in cuts:
            ends.append((node.output,))
            seen = False
    return (*ends, graph.outputs)


def _can_be_corrected(graph: Graph, plan: Plan, node: Node) -> bool:
    """Whether a node is a linear layer with a bias of its own and stored weights, which may be moved."""
    is_layer = node.op == "Gemm" or (node.op == "Conv" and len(graph.shape(node.output)) == 4)
    if not (is_layer and node.input(2) and node.inputs[1] in plan.tensors):
        return False
    return len(graph.consumers[node.inputs[2]]) == 1 and not must_keep_sign(graph, node)


def _tied(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The nodes that read the weights of a layer: itself, and those whose weights are tied to its."""
    return graph.consumers[node.inputs[1]]


def _can_be_rounded(graph: Graph, node: Node, names: Collection[str]) -> bool:
    """Whether a layer's weights can be rounded for all that read them, which are among the layers named."""
    tied = _tied(graph, node)
    alike = {(each.op, each.int("group", 1), each.int("transB")) for each in tied}
    return len(alike) == 1 and all(each.name in names for each in tied)


def _float_outputs(
    graph: Graph,
    start: str,
    end: str,
    layers: Sequence[Node],
    inputs: Mapping[str, Inputs],
    feeds: Iterable[Feed],
    reached: Rows,
) -> Iterator[_Samples]:
    """For all feeds of `start`, samples of what `layers` return; `inputs` see theirs, `reached` keeps `end`."""
    watching = list(inputs.values())
    read = [node.inputs[0] for node in layers if node.name in inputs]
    network = runnable(_watching(graph, start, [end, *read], [_alone(node) for node in layers]))

    def keep(values: list[Array], images: int) -> tuple[list[Array], list[list[Array]], _Samples]:
        last, *others = values
        seen = [each.patches(x) for each, x in zip(watching, others, strict=False)]
        return seen, each_image([last], images), _all_sampled(others[len(watching) :], images)

    for seen, rows, samples in run([network], feeds, keep):
        for each, patches in zip(watching, seen, strict=True):
            each.add(patches)
        for (last,) in rows:
            reached.append(last)
        yield samples


def _rounded(graph: Graph, plan: Plan, inputs: dict[str, Inputs]) -> dict[str, Array]:
    """Weights, by the name of the first layer that reads them; `inputs` are used up one after the other."""
    found = {}
    for layer in tuple(inputs):
        if layer in inputs:
            node = graph.named[layer]
            seen = (inputs.pop(each.name) for each in _tied(graph, node))
            found[layer] = rounded(graph.constants[node.inputs[1]], plan.tensors[node.inputs[1]], *seen)
    return found


def _alone(node: Node, weights: str = "") -> Node:
    """A layer once more, without an activation that is fused into it, and with these weights."""
    inputs = (node.inputs[0], weights or node.inputs[1], node.inputs[2])
    return replace(node, name=f"alone/{node.name}", inputs=inputs, outputs=(f"alone/{node.output}",), activation="")


def _watching(graph: Graph, start: str, values: Sequence[str], layers: Sequence[Node]) -> Graph:
    """What computes `values`, and the outputs of `layers` that `_alone` made, from `start`."""
    info = {layer.output: graph.info[layer.output.removeprefix("alone/")] for layer in layers}
    return extract(graph.with_nodes((*graph.nodes, *layers), info), _behind(graph, start), [*values, *info])


def _behind(graph: Graph, start: str) -> list[str]:
    """What the rest of the network reads that begins at a value: it, and what the network is fed beside its image."""
    return [start, *graph.inputs[1:]]


def _stored(node: Node) -> str:
    return f"stored/{node.inputs[1]}"


def _with_stored_weights(graph: Graph, plan: Plan, node: Node) -> Graph:
    """The graph with a layer's weights, as they are stored, for a further constant."""
    weights, params = graph.constants[node.inputs[1]], plan.tensors[node.inputs[1]]
    return graph.with_constants({_stored(node): params.dequantize(params.quantize(weights))})


def _sampled(values: Array, images: int) -> Array:
    """Of each feature map, the values at some positions, evenly spaced; of each image's rows, some."""
    if values.ndim < 4:
        return some_rows(values, images, _ROWS)
    rows, columns = (spread(size, _SIDE) for size in values.shape[2:])
    return np.ascontiguousarray(values[:, :, rows, columns])


def _all_sampled(values: list[Array], images: int) -> _Samples:
    return images, [_sampled(value, images) for value in values]


def _blocks(samples: Iterator[_Samples], count: int) -> list[Array]:
    """Each value for all `count` images in one block, as many small arrays would leave memory in pieces."""
    blocks: list[Array] = []
    index = 0
    for images, values in samples:
        apart = [value.reshape(images, -1, *value.shape[1:]) for value in values]
        blocks = blocks or [np.empty((count, *value.shape[1:]), value.dtype) for value in apart]
        for block, value in zip(blocks, apart, strict=True):
            block[index : index + images] = value
        index += images
    return blocks


def _channels(block: Array) -> Values:
    """All values of each channel, axis 1 of what the block holds for each feed: float64 (channels, values)."""
    return np.moveaxis(block, 2, 0).reshape(block.shape[2], -1).astype(np.float64)


def _affine(expected: Array, found: Array, with_slope: bool) -> tuple[Values, Values]:
    """Gain and shift of each channel that give what was found the mean, and the slope, of what was expected.

    A few channels are looked at at a time: all of them in float64 would make the peak of a conversion's memory.
    """
    some = [slice(start, start + _CHANNELS) for start in range(0, expected.shape[2], _CHANNELS)]
    gains, shifts = zip(
        *(_lines(_channels(expected[:, :, few]), _channels(found[:, :, few]), with_slope) for few in some), strict=True
    )
    return np.concatenate(gains), np.concatenate(shifts)


def _lines(expected: Values, found: Values, with_slope: bool = True) -> tuple[Values, Values]:
    """Gain and shift of a few channels."""
    means = expected.mean(axis=1), found.mean(axis=1)
    exact, noisy = (values - mean[:, np.newaxis] for values, mean in zip((expected, found), means, strict=True))
    power, noisy_power, common = (np.mean(a * b, axis=1) for a, b in ((exact, exact), (noisy, noisy), (exact, noisy)))
    is_signal = with_slope & (common > 0) & (np.square(common) >= _CORRELATED * power * noisy_power)
    gain = np.divide(power, common, out=np.ones_like(power), where=is_signal)
    shift = means[0] - gain * means[1]
    is_known = np.isfinite(shift)  # not where the quantized network made no number of an image
    return np.where(is_known, gain, 1.0), np.where(is_known, shift, 0.0)


def _corrected(graph: Graph, plan: Plan, node: Node, gain: Values, shift: Values) -> tuple[Graph, Plan]:
    """The layer with its output multiplied by `gain`, then increased by `shift`."""
    source, weights, bias = node.inputs
    params = plan.tensors[weights]
    scale = (np.asarray(params.scale) * gain).astype(np.float32)
    along = [-1 if axis == params.axis else 1 for axis in range(graph.constants[weights].ndim)]
    integers, rescaled = params.quantize(graph.constants[weights]), replace(params, scale=tuple(map(float, scale)))
    factors = (scale / np.asarray(params.scale, np.float32)).reshape(along)
    multiplied = (graph.constants[weights] * factors).astype(np.float32)
    stays = rescaled.quantize(multiplied) == integers  # but for what lies within rounding of a tie
    constants = {
        weights: np.where(stays, multiplied, rescaled.dequantize(integers)),
        bias: (gain * graph.constants[bias].reshape(-1) + shift).astype(np.float32),
    }
    tensors = {**plan.tensors, weights: rescaled}
    if bias in tensors:
        tensors[bias] = bias_params(tensors[source], tensors[weights], 0)
    return graph.with_constants(constants), Plan(tensors, plan.nodes)
