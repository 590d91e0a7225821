"""Which channels of the float network a quantized network's are.

Quantization reorders channels, computes them in parts, leaves some out and multiplies them by factors, all of it exact
or nearly so, and gives none of it a record of its own.  Run in float, the network that was quantized holds what the
float one does, but for the rounding of weights, so that each channel is known again by the direction of its values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.regions import linked
from edgefer.quantize.observe.per_image import spread
from edgefer.runtime.runners import onnx_session

_TREATED = re.compile(r"(/part_\d+|/equalised)+$")
_SIDE = 6  # at most so many rows and columns of a map are looked at
_EXACT = 1e-6  # what float32 leaves of a difference
_PLAINLY = 30.0  # channels count as treated where that explains so many times more than that they were left alone


@dataclass(frozen=True, eq=False)
class Counterpart:
    """A tensor of the float network, as a tensor of the quantized one holds it.

    Attributes:
        name: of the float network's tensor.
        channels: which of its channels, along axis 1; None for all, in order.
        factors: what those are multiplied by; None for 1.
    """

    name: str
    channels: Array | None = None
    factors: Array | None = None

    def of(self, values: Array) -> Array:
        """What the quantized network's tensor should hold, given the float network's."""
        if self.channels is not None:
            values = values[:, self.channels]
        if self.factors is not None:
            values = values * self.factors.reshape(-1, *[1] * (values.ndim - 2))
        return values


def find_counterparts(
    reference: Graph, graph: Graph, tensors: Sequence[str], feeds: Iterable[Feed]
) -> dict[str, Counterpart]:
    """Tensors of `graph` and what they are in the float network; those that it does not have are left out.

    Args:
        reference: the float network.
        graph: the one that was quantized, whose weights are what its integers say.
        tensors: of `graph`.
        feeds: what both take, one image at a time.
    """
    names = {tensor: name for tensor in tensors if (name := _original(reference, tensor))}
    with_channels = {tensor: name for tensor, name in names.items() if len(graph.shape(tensor)) in (2, 4)}
    held, original = _observed(graph, reference, with_channels, feeds)
    found = {
        tensor: Counterpart(name)
        for tensor, name in names.items()
        if tensor not in with_channels and graph.shape(tensor) == reference.shape(name)
    }
    for values in _in_one_order(graph, with_channels):
        found |= _matched({value: names[value] for value in values}, held, original)
    return found


def _in_one_order(graph: Graph, tensors: Iterable[str]) -> Iterator[list[str]]:
    """The tensors, those together whose channels correspond."""
    left = dict.fromkeys(tensors)
    while left:
        found = reached = {next(iter(left))}
        while reached:
            reached = {value for each in reached for value in _beside(graph, each)} - found
            found = found | reached
        yield [tensor for tensor in left if tensor in found]
        left = {tensor: None for tensor in left if tensor not in found}


def _beside(graph: Graph, value: str) -> Iterator[str]:
    maker = graph.producers.get(value)
    for node in (*([maker] if maker else []), *graph.consumers.get(value, ())):
        yield from linked(graph, node, value, "order") or ()


def _original(reference: Graph, tensor: str) -> str:
    """The float network's name for a tensor; empty where it has none."""
    return next((name for name in (tensor, _TREATED.sub("", tensor)) if name in reference.producers), "")


def _observed(
    graph: Graph, reference: Graph, names: Mapping[str, str], feeds: Iterable[Feed]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What tensors hold in both networks, each (channels, samples)."""
    wanted = (list(names), list(dict.fromkeys(names.values())))
    graphs = (graph, reference)
    sessions = [onnx_session(to_onnx(each, some)) for each, some in zip(graphs, wanted, strict=True)]
    seen: tuple[list[list[Array]], ...] = ([], [])
    for feed in feeds:
        for each, session, tensors, parts in zip(graphs, sessions, wanted, seen, strict=True):
            fed = {name: array.astype(each.info[name].dtype, copy=False) for name, array in feed.items()}
            values = session.run(tensors, fed) if tensors else []
            parts.append([_samples(each) for each in values])
    held, original = (
        {tensor: np.concatenate(parts, axis=1) for tensor, parts in zip(tensors, zip(*some, strict=True), strict=True)}
        for tensors, some in zip(wanted, seen, strict=True)
    )
    return held, original


def _samples(values: Array) -> Array:
    some = values[(slice(None), slice(None), *(spread(size, _SIDE) for size in values.shape[2:]))]
    return np.moveaxis(some, 1, 0).reshape(values.shape[1], -1)


def _matched(
    names: Mapping[str, str], held: Mapping[str, Array], original: Mapping[str, Array]
) -> dict[str, Counterpart]:
    """Tensors whose channels are in one order, as they are most alike to the float network's."""
    sizes = {len(original[name]) for name in names.values()}
    if len(sizes) != 1:
        return {}
    pairs = ((_directions(held[value]), _directions(original[name])) for value, name in names.items())
    alike = reduce(np.add, (np.square(first @ second.T) for first, second in pairs))
    if alike.shape[0] > alike.shape[1]:
        return {}
    in_order = np.arange(len(alike))
    channels = alike.argmax(axis=1)
    if alike.shape[0] == alike.shape[1]:
        best, unmoved = (len(names) + _EXACT - alike[in_order, each].mean() for each in (channels, in_order))
        channels = in_order if unmoved < _PLAINLY * best else channels
    return {
        value: Counterpart(
            name, None if channels is in_order else channels, _factors(held[value], original[name][channels])
        )
        for value, name in names.items()
    }


def _directions(samples: Array) -> Array:
    lengths = np.linalg.norm(samples.astype(np.float64), axis=1, keepdims=True)
    directions: Array = samples / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions


def _factors(held: Array, original: Array) -> Array | None:
    """What the float network's channels are multiplied by, by least squares; None where that is nothing."""
    power = np.square(original).sum(axis=1)
    factors = np.where(power > 0, (held * original).sum(axis=1) / np.maximum(power, np.finfo(np.float32).tiny), 1.0)
    as_they_are = np.square(held - original).sum()
    multiplied = np.square(held - original * factors[:, np.newaxis]).sum()
    return factors.astype(np.float32) if multiplied * _PLAINLY < as_they_are else None
