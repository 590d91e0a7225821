"""Parts that a network can compute more plainly: depthwise kernels of fewer taps, and gates that no image changes.

A kernel of 5 x 5 takes nearly three times as long as one of 3 x 3, and a gate (squeeze-excite) takes a pass over its
map to average it and another to multiply it, whatever number of channels is left.  Both are fitted by least squares:
a kernel's inner taps to what all of them made, and a factor for each channel to what the gate made of it, which the
layer behind it then holds in its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edgefer.graph.groups import with_bias
from edgefer.graph.ir import Array, Feed, Graph, Node, fresh_name
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.rewrite import bypass, substitute
from edgefer.graph.patterns import SqueezeExcite, find_squeeze_excites
from edgefer.quantize.observe.guesses import channel_samples
from edgefer.quantize.observe.per_image import observe, spread
from edgefer.quantize.scales.ranges import Values
from edgefer.shrink.remove import Measure

_TAPS = 3
"""Rows and columns that are left of a depthwise kernel."""

_PLACES = 4
"""At most so many rows and columns of a map are looked at, of each image."""

_DAMPING = 1e-3  # of the mean variance of a kernel's taps, or of channels


@dataclass(frozen=True)
class Plainer:
    """A part that can be computed more plainly.

    Attributes:
        node: the depthwise convolution, or the gate's product.
        instead: the graph with that done, of one in which others may be done already.
    """

    node: str
    instead: Callable[[Graph], Graph]


def plainly(
    graph: Graph,
    feeds: Sequence[Feed],
    noise: Callable[[Graph], float],
    measure: Measure,
    price: float,
    target: float,
) -> tuple[Graph, int]:
    """The graph with parts computed more plainly, until it takes `target`, and how many they are.

    Args:
        graph: the float network, one input.
        feeds: calibration inputs.
        noise: of a graph, at the heads.
        measure: of what is to become less.
        price: the noise that is paid elsewhere for each unit of it.
        target: how much is to be left.
    """
    before, whole = noise(graph), measure.of(graph)
    cheap = []
    for part in plainer_parts(graph, feeds):
        alone = part.instead(graph)
        added, saved = noise(alone) - before, whole - measure.of(alone)
        if saved > 0 and added < price * saved:
            cheap.append((added / saved, part.node, part))
    count = 0
    for _, _, part in sorted(cheap, key=lambda way: way[:2]):
        if measure.of(graph) <= target:
            break
        graph, count = part.instead(graph), count + 1
    return graph, count


def plainer_parts(graph: Graph, feeds: Sequence[Feed]) -> Iterator[Plainer]:
    """Every part that can be, fitted to calibration inputs."""
    for node in graph.nodes:
        if _is_large_kernel(graph, node):
            yield Plainer(node.name, partial(_with_kernel, node=node.name, fitted=_inner_taps(graph, node, feeds)))
    gates = [gate for gate in find_squeeze_excites(graph) if _is_foldable(graph, gate)]
    values = [value for gate in gates for value in (gate.x, gate.gate.output, gate.mul.output)]
    seen = channel_samples(graph, values, feeds)
    for gate in gates:
        fitted = _factors(*(seen[value] for value in (gate.x, gate.gate.output, gate.mul.output)))
        yield Plainer(gate.mul.name, partial(_without_gate, gate=gate, fitted=fitted))


def _is_large_kernel(graph: Graph, node: Node) -> bool:
    if node.op != "Conv" or node.int("group", 1) == 1 or not graph.is_constant(node.inputs[1]):
        return False
    channels, each, *taps = graph.shape(node.inputs[1])
    whole = node.int("group", 1) == channels == graph.shape(node.inputs[0])[1] and each == 1
    surround = [(size - _TAPS) // 2 for size in taps]
    return (
        whole
        and len(taps) == 2
        and all(size % 2 for size in taps)
        and max(taps) > _TAPS <= min(taps)
        and set(node.ints("dilations", (1,))) == {1}
        and all(pad >= cut for pad, cut in zip(node.ints("pads", (0,) * 4), surround * 2, strict=True))
        and len(graph.consumers[node.inputs[1]]) == 1
    )


def _inner_taps(graph: Graph, node: Node, feeds: Sequence[Feed]) -> tuple[Array, Values]:
    """A kernel of the inner taps that does most nearly what all do, and what is to be added to the bias."""
    kernel = graph.constants[node.inputs[1]]
    strides, pads = node.ints("strides", (1, 1)), node.ints("pads", (0,) * 4)

    def products(observed: list[Array], images: int) -> Values:
        """Sums over places of all products of two taps, with a tap more that is always 1."""
        padded = np.pad(observed[0], ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
        windows = windows[:, :, :: strides[0], :: strides[1]]
        windows = windows[:, :, spread(windows.shape[2], _PLACES), spread(windows.shape[3], _PLACES)]
        taps = np.moveaxis(windows, 1, 0).reshape(len(kernel), -1, kernel[0].size)
        taps = np.concatenate([taps, np.ones_like(taps[..., :1])], axis=2)
        found: Values = np.matmul(taps.transpose(0, 2, 1), taps).astype(np.float64)
        return found

    total = sum(observe(graph, [node.inputs[0]], feeds, products), np.zeros(()))
    total /= total[:, -1:, -1:]
    mean = total[:, -1, :-1]
    covariance = total[:, :-1, :-1] - mean[:, :, np.newaxis] * mean[:, np.newaxis]
    inner = np.zeros(kernel.shape[2:], bool)
    rows, columns = ((size - _TAPS) // 2 for size in kernel.shape[2:])
    inner[rows : rows + _TAPS, columns : columns + _TAPS] = True
    kept = inner.reshape(-1)
    damping = _DAMPING * np.einsum("cnn->c", covariance) / len(kept) + 1e-12
    whole = kernel.reshape(len(kernel), -1).astype(np.float64)
    damped = covariance[:, kept][:, :, kept] + damping[:, np.newaxis, np.newaxis] * np.eye(kept.sum())
    more = np.linalg.solve(
        damped, np.einsum("ckg,cg->ck", covariance[:, kept][:, :, ~kept], whole[:, ~kept])[..., None]
    )
    taps = whole[:, kept] + more[..., 0]
    shift = np.einsum("cn,cn->c", whole, mean) - np.einsum("cn,cn->c", taps, mean[:, kept])
    return taps.reshape(len(kernel), 1, _TAPS, _TAPS).astype(kernel.dtype), shift


def _with_kernel(graph: Graph, node: str, fitted: tuple[Array, Values]) -> Graph:
    kernel, shift = fitted
    old = graph.named[node]
    sizes = graph.shape(old.inputs[1])[2:]
    cuts = [(size - now) // 2 for size, now in zip(sizes, kernel.shape[2:], strict=True)] * 2
    pads = tuple(pad - cut for pad, cut in zip(old.ints("pads", (0,) * 4), cuts, strict=True))
    name = fresh_name(graph, f"{old.inputs[1]}/inner")
    attributes = {**old.attributes, "kernel_shape": kernel.shape[2:], "pads": pads}
    new = replace(old, inputs=(old.inputs[0], name, *old.inputs[2:]), attributes=attributes)
    return remove_dead(with_bias(substitute(graph, {node: [new]}, {name: kernel}), new, shift))


def _is_foldable(graph: Graph, gate: SqueezeExcite) -> bool:
    """Whether what reads the product can hold a factor for each of its channels."""
    readers = graph.consumers.get(gate.mul.output, ())
    return (
        gate.mul.output not in graph.outputs
        and bool(readers)
        and all(
            reader.op == "Conv"
            and reader.int("group", 1) == 1
            and graph.is_constant(reader.inputs[1])
            and len(graph.consumers[reader.inputs[1]]) == 1
            and not any(reader.ints("pads"))
            for reader in readers
        )
    )


def _factors(before: Array, opened: Array, after: Array) -> tuple[Values, Values]:
    """For each channel the factor and the constant that come nearest to what a gate makes of it."""
    x, y = (samples.astype(np.float64) for samples in (before, after))
    usual = opened.mean(axis=1, dtype=np.float64)  # of what these images never have, too
    centred = x - x.mean(axis=1, keepdims=True)
    variances = np.square(centred).mean(axis=1)
    beside = (centred * (y - usual[:, np.newaxis] * x)).mean(axis=1)
    factors = usual + beside / (variances + _DAMPING * variances.mean() + 1e-12)
    return factors, y.mean(axis=1) - factors * x.mean(axis=1)


def _without_gate(graph: Graph, gate: SqueezeExcite, fitted: tuple[Values, Values]) -> Graph:
    factor, shift = fitted
    for reader in graph.consumers[gate.mul.output]:
        weights = graph.constants[reader.inputs[1]]
        scaled = weights * factor.reshape(1, -1, *([1] * (weights.ndim - 2))).astype(weights.dtype)
        added = np.tensordot(weights.astype(np.float64).sum(axis=tuple(range(2, weights.ndim))), shift, 1)
        graph = with_bias(graph.with_constants({reader.inputs[1]: scaled}), reader, added)
    return remove_dead(bypass(graph, graph.named[gate.mul.name], gate.x))
