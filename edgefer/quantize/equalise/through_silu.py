"""Channel equalisation through SiLU: the channels of an activation get like ranges, exactly in float.

    y = x * sigmoid(x)   becomes   y' = x' * sigmoid(x' * r)   with   x' = x / r,  y' = y / r,  r per channel

The convolutions that make x take 1/r into their weights and biases; the convolutions that read y, through
squeeze-and-excite where there is one, take r into theirs.  For one small Mul more, an activation whose
channels differ 10 to 100 times in range is stored in int8 with little loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from edgefer.graph.ir import Array, Feed, Graph, Node, fresh_name, fresh_node_name
from edgefer.graph.patterns import Silu, find_silus
from edgefer.graph.regions import is_depthwise, mixes_channels
from edgefer.host.threads import in_order
from edgefer.plan import QuantParams
from edgefer.quantize.costs.cost import Work
from edgefer.quantize.costs.prices import Prices
from edgefer.quantize.observe.activations import stored_alone
from edgefer.quantize.observe.loudness import loudness
from edgefer.quantize.observe.per_image import observe
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.ranges import Values, View, identity, mse_optimal_of, sigmoid, silu

LARGEST_CORRECTION = 8.0
"""Channels come at most this much closer: the noise of those that are scaled up grows with it."""

_FROM_INPUT = 0.1  # of what must be taken away: what storing x adds where treating is worth a try
_BEND = 2.0  # SiLU is bent most from about -2 upwards, so that x is needed from there to the largest y
_GROUPS_PER_OCTAVE = 2  # of r, where channels share a histogram
_LEVELS = 255  # of an int8 constant: r is chosen among them, so that storing it is exact


def equalise(
    graph: Graph, feeds: Sequence[Feed], sensitivity: Sensitivity, prices: Prices
) -> tuple[Graph, Mapping[str, QuantParams]]:
    """The graph with the SiLUs treated where that pays, and how their inputs x' are best stored.

    Args:
        graph: the float network; its outputs stay what they were.
        feeds: calibration inputs.
        sensitivity: measures what storing a SiLU costs, before and after.
        prices: what treating one must take away.
    """
    sites = [site for site in find_silus(graph) if _can_be_treated(graph, site)]
    untreated = _untreated(graph, sites, sensitivity.feeds)
    price = {site.x: _price(graph, site, prices) for site in sites}
    noises = in_order(
        lambda site: _noise_if_loud(graph, site, untreated[site.x], sensitivity, price[site.x]),
        sites,
        begun_at_most=len(sites),
    )
    most = {site.x: noise - price[site.x] for site, noise in zip(sites, list(noises), strict=True)}
    loud = [site for site in sites if most[site.x] >= 0]
    largest = loudness(graph, [site.mul.output for site in loud], feeds)
    ratios = {site.x: _ratio(largest[site.mul.output]) for site in loud}
    left = in_order(
        lambda site: _noise_treated(graph, site, ratios[site.x], sensitivity, most[site.x]),
        loud,
        begun_at_most=len(loud),
    )
    treated, stored = graph, {}
    for site, noise in zip(loud, list(left), strict=True):
        if noise <= most[site.x]:
            treated, names = _treat(treated, site, ratios[site.x].astype(np.float32))
            stored[names[site.x]] = ratios[site.x]
    return treated, _input_params(treated, stored, feeds)


def is_cheaper_equalised(graph: Graph, x: str, sensitivity: Sensitivity, prices: Prices, cost: float) -> bool:
    """Whether noise and price of the SiLU of `x` add up to at most `cost` once it is treated; it may be impossible."""
    site = next((site for site in find_silus(graph) if site.x == x and _can_be_treated(graph, site)), None)
    most = cost - _price(graph, site, prices) if site is not None else 0.0
    if site is None or most <= 0:
        return False
    part = sensitivity.part(graph, [site.mul.output])
    ratio = _ratio(loudness(part.graph, [site.mul.output], part.feeds)[site.mul.output])
    return _noise_treated(graph, site, ratio, sensitivity, most) <= most


def _noise_if_loud(
    graph: Graph, site: Silu, stored: Mapping[str, QuantParams], sensitivity: Sensitivity, price: float
) -> float:
    """The noise of storing all that would be scaled, or of x alone where that adds too little to go on."""
    others = dict(stored)
    worthwhile = _FROM_INPUT * price
    noise = sensitivity.noise_of(graph, {site.x: others.pop(site.x)}, worthwhile)
    if noise < worthwhile:
        return noise
    return noise + _sum_of_noises(graph, others, sensitivity)


def _price(graph: Graph, site: Silu, prices: Prices) -> float:
    """Of the Mul, and of that of the SiLU, which kernels then cannot look up with its Sigmoid."""
    channels = graph.shape(site.x)[1]
    return prices.of([], [Work("Elementwise", channels, prod(graph.shape(site.x)) / channels)] * 2)


def _noise_treated(graph: Graph, site: Silu, ratio: Values, sensitivity: Sensitivity, most: float) -> float:
    """The noise of storing all that is scaled, once one SiLU is treated.

    Noise that is clearly less than `most`, or more, is measured no further.
    """
    treated, names = _treat(graph, site, ratio.astype(np.float32))
    x, maps = names[site.x], [names[value] for value in _maps(graph, site)]
    part = sensitivity.part(treated, [x, *maps])
    stored = _input_params(part.graph, {x: ratio}, part.feeds)
    stored |= stored_alone(part.graph, dict.fromkeys(maps, identity), part.feeds)
    return _sum_of_noises(treated, stored, sensitivity, most)


def _can_be_treated(graph: Graph, silu: Silu) -> bool:
    is_map = prod(graph.shape(silu.x)[2:]) > 1
    makers, readers = _makers(graph, silu.x), {node.name for node in graph.consumers[silu.x]}
    is_alone = silu.x not in graph.outputs and readers == {silu.sigmoid.name, silu.mul.name}
    has_weights = all(
        node.op == "Conv" and node.input(2) and not node.activation and _are_own(graph, node.inputs[1:])
        for node in makers
    )
    return is_map and is_alone and bool(makers) and has_weights and _reach(graph, silu.mul.output) is not None


def _are_own(graph: Graph, constants: Sequence[str]) -> bool:
    """Whether all are constants that one node alone reads."""
    return all(graph.is_constant(value) and graph.sole_consumer(value) is not None for value in constants)


def _makers(graph: Graph, value: str) -> list[Node]:
    """The nodes that make a value's channels, in order: several where it joins what only it reads."""
    node = graph.producers.get(value)
    if node is None or node.op != "Concat":
        return [node] if node is not None else []
    parts = [part for part in node.inputs if graph.sole_consumer(part) is node and part in graph.producers]
    whole = parts == list(node.inputs) and node.int("axis") == 1
    return [graph.producers[part] for part in parts] if whole else []


def _untreated(graph: Graph, sites: Sequence[Silu], feeds: Sequence[Feed]) -> dict[str, Mapping[str, QuantParams]]:
    """For each SiLU, by its input's name, how that and all that would be scaled with it are stored."""
    views: dict[str, View] = {value: identity for site in sites for value in _maps(graph, site)}
    stored = stored_alone(graph, views | {site.x: silu for site in sites}, feeds)
    return {site.x: {value: stored[value] for value in (site.x, *_maps(graph, site))} for site in sites}


def _sum_of_noises(
    graph: Graph, stored: Mapping[str, QuantParams], sensitivity: Sensitivity, most: float | None = None
) -> float:
    """The noise of storing each tensor by itself, added up; where `most` matters, only until it is exceeded.

    Stored together, what their errors have in common adds up too, to several times that; but most of it is a mean or
    a slope that is wrong in each channel, which correction takes away.
    """
    total = 0.0
    for value, params in stored.items():
        total += sensitivity.noise_of(graph, {value: params}, 0.0 if most is None else most - total)
        if most is not None and total > most:
            break
    return total


def _maps(graph: Graph, site: Silu) -> list[str]:
    """The feature maps that are scaled with a SiLU's output."""
    reach = _reach(graph, site.mul.output)
    assert reach is not None
    return [value for value in reach.values if prod(graph.shape(value)[2:]) > 1]


@dataclass(frozen=True)
class _Reach:
    """How far a scaling of channels goes: the values scaled, and the convolutions that end it."""

    values: tuple[str, ...]
    readers: tuple[Node, ...]


def _reach(graph: Graph, value: str) -> _Reach | None:
    """The reach of scaling `value`'s channels; None where something reads it that cannot take it in.

    Scaling the channels of a value scales those of its mean, and of its product with a gate, alike.
    """
    values, readers = [value], []
    for node in graph.consumers.get(value, ()):
        takes_in = mixes_channels(graph, node) or is_depthwise(graph, node)
        if node.op == "Conv" and takes_in and node.inputs[0] == value and _are_own(graph, node.inputs[1:2]):
            readers.append(node)
            continue
        passes_on = node.op == "GlobalAveragePool" or (node.op == "Mul" and node.inputs.count(value) == 1)
        further = _reach(graph, node.output) if passes_on and not node.activation else None
        if further is None:
            return None
        values.extend(further.values)
        readers.extend(further.readers)
    return _Reach(tuple(values), tuple(readers)) if readers and value not in graph.outputs else None


def _ratio(largest: Values) -> Values:
    """R, proportional to what each channel needs of x, within LARGEST_CORRECTION, on the grid of an int8 constant."""
    width = largest + _BEND
    steps = np.maximum(np.rint(_LEVELS * width / width.max()), np.ceil(_LEVELS / LARGEST_CORRECTION))
    ratio: Values = steps / np.median(steps)
    return ratio


def _treat(graph: Graph, site: Silu, ratio: Array) -> tuple[Graph, Mapping[str, str]]:
    """The graph with one SiLU treated, and the new names of all that is scaled."""
    makers, reach = _makers(graph, site.x), _reach(graph, site.mul.output)
    assert reach is not None
    constants: dict[str, Array] = {}
    ends = np.cumsum([graph.shape(conv.output)[1] for conv in makers])
    for conv, part in zip(makers, np.split(ratio, ends[:-1]), strict=True):
        weights, bias = (graph.constants[name] for name in conv.inputs[1:])
        constants[conv.inputs[1]] = weights / part.reshape(-1, 1, 1, 1)
        constants[conv.inputs[2]] = bias / part
    for reader in reach.readers:
        shape = (1, -1, 1, 1) if reader.int("group", 1) == 1 else (-1, 1, 1, 1)
        constants[reader.inputs[1]] = graph.constants[reader.inputs[1]] * ratio.reshape(shape)
    scaled = dict.fromkeys((*(conv.output for conv in makers), site.x, *reach.values))
    names = {value: fresh_name(graph, f"{value}/equalised") for value in scaled}
    restoring = fresh_name(graph, f"{site.x}/ratio")
    constants[restoring] = ratio.reshape(1, -1, 1, 1)
    nodes = []
    for node in graph.nodes:
        if node.name == site.sigmoid.name:
            name = fresh_node_name(graph, f"{node.name}/restore")
            nodes.append(Node(name, "Mul", (names[site.x], restoring), (site.x,)))
            nodes.append(node)
        else:
            inputs, outputs = (tuple(names.get(v, v) for v in values) for values in (node.inputs, node.outputs))
            nodes.append(replace(node, inputs=inputs, outputs=outputs))
    info = {name: graph.info[value] for value, name in names.items()}
    return graph.with_constants(constants).with_nodes(nodes, info), names


def _input_params(graph: Graph, ratios: Mapping[str, Values], feeds: Iterable[Feed]) -> dict[str, QuantParams]:
    """How each x' = x / r is stored so that the error of y' = x' * sigmoid(x' * r) is least.

    The error depends on x' and r alone, so channels of about the same r share a histogram.
    """
    groups = {name: np.rint(_GROUPS_PER_OCTAVE * np.log2(ratio)).astype(int) for name, ratio in ratios.items()}
    histograms = {name: {group: Histogram() for group in np.unique(found)} for name, found in groups.items()}

    def count(values: list[Array], images: int) -> None:
        for name, x in zip(ratios, values, strict=True):
            for group, histogram in histograms[name].items():
                histogram.add(np.ascontiguousarray(x[:, groups[name] == group]), images)

    for _ in observe(graph, list(ratios), feeds, count):
        pass
    return {name: _group_params(histograms[name]) for name in ratios}


def _group_params(histograms: Mapping[int, Histogram]) -> QuantParams:
    return mse_optimal_of(
        [
            (found, partial(_silu_scaled, ratio=2.0 ** (group / _GROUPS_PER_OCTAVE)))
            for group, found in histograms.items()
        ]
    )


def _silu_scaled(x: Values, ratio: float) -> Values:
    return x * sigmoid(x * ratio)
