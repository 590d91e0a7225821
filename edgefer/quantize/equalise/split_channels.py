r"""Loud and quiet channels of an activation, each stored with scales of their own.

    conv -> SiLU -> depthwise    becomes    conv, loud rows  -> SiLU -> depthwise \
                                                                                  Concat
                                            conv, quiet rows -> SiLU -> depthwise /

A few channels 10 to 100 times louder than the rest take the precision of all.  Reordered so that the loud
ones come first, both groups are computed exactly as before, and kernels that fuse SiLU into one table
lookup still do, which the extra Mul of channel equalisation prevents.  Depthwise outputs are much alike in
range and are joined in one scale, so nothing after them changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, prod

import numpy as np

from edgefer.graph.ir import Graph, Node
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.patterns import find_silus
from edgefer.graph.regions import divide, find_region, permute
from edgefer.host.threads import in_order
from edgefer.plan import QuantParams
from edgefer.quantize.costs.cost import Work, work
from edgefer.quantize.costs.prices import Prices, node_works
from edgefer.quantize.equalise.through_silu import is_cheaper_equalised
from edgefer.quantize.observe.loudness import loudness
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.integer_kernels import FIXED_OUTPUT
from edgefer.quantize.scales.ranges import Values, identity, silu

_FEWEST = 4  # loud channels


def split(graph: Graph, sensitivity: Sensitivity, prices: Prices) -> Graph:
    """The graph with activations split into loud and quiet channels where that pays; its outputs stay what they were.

    Args:
        graph: the float network.
        sensitivity: measures what storing an activation costs, before and after.
        prices: what dividing one must take away.
    """
    sites = [site for node in graph.nodes if (site := _Site.of(graph, node)) is not None]
    loud = loudness(graph, [site.output for site in sites], sensitivity.feeds)
    params = _params(graph, [value for site in sites for value in site.stored], sensitivity)
    ways = list(
        in_order(
            lambda site: _best_sizes(graph, site, loud[site.output], params, sensitivity, prices),
            sites,
            begun_at_most=len(sites),
        )
    )
    divided = graph
    for site, sizes in zip(sites, ways, strict=True):
        if len(sizes) > 1 and can_split(divided, site.values[0]):  # else it shared its channels with one divided before
            divided, _ = _treat(divided, site, loud[site.output], sizes)
    return divided


def can_split(graph: Graph, value: str) -> bool:
    """Whether `split` can treat the activation that a convolution's output `value` is the input of."""
    return value in graph.producers and _Site.of(graph, graph.producers[value]) is not None


@dataclass(frozen=True)
class _Site:
    """An activation between a convolution and a depthwise convolution that is all that reads it.

    Attributes:
        values: from the convolution's output to the activation's.
        depthwise: the output of the depthwise convolution.
        stored: those of `values` whose scale is free.
    """

    values: tuple[str, ...]
    depthwise: str
    stored: tuple[str, ...]

    @property
    def output(self) -> str:
        """The activation's output."""
        return self.values[-1]

    @classmethod
    def of(cls, graph: Graph, conv: Node) -> _Site | None:
        """The site that begins with `conv`; None where it does not begin one."""
        region = find_region(graph, conv.output) if conv.op == "Conv" else None
        if region is None or conv not in region.producers or prod(graph.shape(conv.output)[2:]) == 1:
            return None
        values = [conv.output]
        ends: list[Node] = []
        for node in graph.nodes:
            read = [value for value in node.inputs if not graph.is_constant(value)]
            if not set(values).intersection(read):
                continue
            if node.op == "Conv" and node in region.inside:
                ends.append(node)
            elif set(values).issuperset(read) and graph.shape(node.output) == graph.shape(conv.output):
                values.append(node.output)
            else:
                return None
        if len(ends) != 1 or len(values) == 1 or ends[0].inputs[0] != values[-1]:
            return None
        stored = tuple(value for value in values if graph.producers[value].op not in FIXED_OUTPUT)
        return cls(tuple(values), ends[0].output, stored)


def _best_sizes(
    graph: Graph,
    site: _Site,
    loud: Values,
    params: Mapping[str, QuantParams],
    sensitivity: Sensitivity,
    prices: Prices,
) -> tuple[int, ...]:
    """Sizes of as many groups as pay, the loudest first; of one, where equalising the site pays more."""
    best: tuple[int, ...] = (len(loud),)
    finer = _finer(graph, site, best, prices)
    least = finer[0][0] if finer else inf
    cost = sensitivity.noise_of(graph, {value: params[value] for value in site.stored}, least)
    while finer:
        ways, finer = finer, []
        for worth, sizes in ways:
            if worth >= cost:
                break
            treated, parts = _treat(graph, site, loud, sizes)
            noise = sensitivity.noise_of(treated, _params(treated, parts, sensitivity))
            if noise + worth < cost:
                best, cost, finer = sizes, noise + worth, _finer(graph, site, sizes, prices)
    if len(best) > 1 and is_cheaper_equalised(graph, site.values[0], sensitivity, prices, cost):
        return (len(loud),)
    return best


def _finer(graph: Graph, site: _Site, sizes: Sequence[int], prices: Prices) -> list[tuple[float, tuple[int, ...]]]:
    """All ways to divide one group once more, where the numbers of loud channels double, by what each must be worth."""
    ends, channels = set(accumulate(sizes)), sum(sizes)
    steps = [_FEWEST << power for power in range((channels // (2 * _FEWEST)).bit_length())]
    points = [sorted({0, step} | ends) for step in steps if step not in ends]
    finer = [tuple(end - start for start, end in pairwise(each)) for each in points]
    return sorted((_price(graph, site, each, prices), each) for each in finer)


def _price(graph: Graph, site: _Site, sizes: Sequence[int], prices: Prices) -> float:
    """Of computing a site in groups, whose depthwise outputs are joined."""
    makers = [graph.producers[value] for value in (*site.values, site.depthwise)]
    whole = node_works(graph, makers)
    joined = work(graph, makers[-1])
    apart = [each._replace(channels=size) for size in sizes for each in whole]
    return prices.of(whole, [*apart, Work("Concat", joined.channels, joined.elements)])


def _treat(graph: Graph, site: _Site, loud: Values, sizes: tuple[int, ...]) -> tuple[Graph, tuple[str, ...]]:
    """The graph with groups of channels, the loudest first, and the values that are stored in parts."""
    region = find_region(graph, site.output)
    assert region is not None
    groups = np.split(np.argsort(-loud, kind="stable"), list(accumulate(sizes))[:-1])
    order = [int(channel) for group in groups for channel in sorted(group)]
    permuted = permute(graph, region, order)
    treated, parts = divide(permuted, region, (*site.values, site.depthwise), sizes)
    return remove_dead(treated), tuple(part for value in site.stored for part in parts[value])


def _params(graph: Graph, values: Sequence[str], sensitivity: Sensitivity) -> dict[str, QuantParams]:
    """How each of `values` would be stored by itself."""
    inputs = {site.x for site in find_silus(graph)}
    return sensitivity.stored_alone(graph, {name: silu if name in inputs else identity for name in values})
