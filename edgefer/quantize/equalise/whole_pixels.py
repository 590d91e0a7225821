"""Pixels stored as the whole numbers that they are.

A network reads pixels less their mean, of which a step of int8 is nearly one, and rounding to it loses a few decibels
of them: of a MobileNetV1, briefly trained, two fifths of all that activations lose.  With a step of one, and a mean of
whole numbers, nothing is lost but what does not fit in; the fraction of the mean goes into the biases of the
convolutions that read it, exactly but at the border, where zeros stand for the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.patterns import has_constant_weights
from edgefer.plan import QuantParams
from edgefer.quantize.equalise.cross_layer import NEGLIGIBLE
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.ranges import best_zero_point, mse_optimal

_SHAPING = frozenset(["Cast", "Reshape", "Squeeze", "Transpose", "Unsqueeze"])


def store_whole(
    graph: Graph, sensitivity: Sensitivity, plainly: Callable[[], float]
) -> tuple[Graph, Mapping[str, QuantParams]]:
    """The graph with pixels less whole numbers, where that loses less, and how they are stored then.

    Args:
        graph: the float network; its outputs stay what they were, but for borders.
        sensitivity: measures what storing the pixels loses, before and after.
        plainly: tells the noise over signal at the heads that int8 adds without any of this, which may take a while.
    """
    shift = next((node for node in graph.nodes if _shifts_pixels(graph, node)), None)
    if shift is None:
        return graph, {}
    value = shift.output
    seen = _seen(graph, value, sensitivity)
    lost = sensitivity.noise_of(graph, {value: mse_optimal(seen)})
    if lost < NEGLIGIBLE * plainly():
        return graph, {}
    treated = _with_whole_shift(graph, shift)
    stored = {value: best_zero_point(_seen(treated, value, sensitivity), 1.0)}
    return (treated, stored) if sensitivity.noise_of(treated, stored) < lost else (graph, {})


def _seen(graph: Graph, value: str, sensitivity: Sensitivity) -> Histogram:
    part = sensitivity.part(graph, [value])
    return collect(part.graph, [value], part.feeds)[value]


def _shifts_pixels(graph: Graph, node: Node) -> bool:
    """Whether a node adds a number for each channel to pixels, which convolutions with biases alone read."""
    if node.op != "Add" or node.activation or not graph.is_constant(node.inputs[1]) or node.output in graph.outputs:
        return False
    added = graph.constants[node.inputs[1]]
    is_by_channel = added.ndim == 4 and bool(np.all(added == added[:1, :, :1, :1]))
    if not is_by_channel or len(graph.consumers[node.inputs[1]]) > 1:
        return False
    source = node.inputs[0]
    while (maker := graph.producers.get(source)) is not None and maker.op in _SHAPING:
        source = maker.inputs[0]
    readers = graph.consumers.get(node.output, ())
    return source == graph.inputs[0] and bool(readers) and all(_takes_bias(graph, each) for each in readers)


def _takes_bias(graph: Graph, node: Node) -> bool:
    is_plain = node.op == "Conv" and node.int("group", 1) == 1 and bool(node.input(2))
    return (
        is_plain
        and has_constant_weights(graph, node)
        and all(len(graph.consumers.get(name, ())) == 1 for name in node.inputs[1:])
    )


def _with_whole_shift(graph: Graph, shift: Node) -> Graph:
    """The graph with the shift rounded, and biases that make up for it."""
    added = graph.constants[shift.inputs[1]]
    whole = np.rint(added)
    fraction = np.broadcast_to((added - whole)[0, :, 0, 0], graph.shape(shift.output)[1:2])
    constants: dict[str, Array] = {shift.inputs[1]: whole}
    for conv in graph.consumers[shift.output]:
        weights, bias = (graph.constants[name] for name in conv.inputs[1:])
        more = weights.sum(axis=(2, 3), dtype=np.float64) @ fraction
        constants[conv.inputs[2]] = (bias + more.reshape(bias.shape)).astype(np.float32)
    return graph.with_constants(constants)
