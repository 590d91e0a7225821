"""Sensitivity: the noise that storing some tensors as integers adds to a network's outputs, measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Any

import numpy as np

from edgefer.graph.ir import Feed, Graph
from edgefer.graph.subgraph import observing
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.observe.activations import stored_alone
from edgefer.quantize.observe.chain import Chain, Part
from edgefer.quantize.observe.drop import Answer, expected_changes, expected_drop
from edgefer.quantize.observe.per_image import run_each, runnable
from edgefer.quantize.scales.ranges import Values, View

_UNUSUAL = 16  # one image in so many may be unlike the others
_FIRST = 8  # images after which a measurement may end
_CLEARLY = 0.5  # of the noise that matters: what is less after so few images stays less


class Sensitivity:
    """Measures Plans against the float network, on a few images.

    Attributes:
        heads: the values compared, before their activations.
        feeds: the images, those first that measurements may end after: they are from all over the set.
    """

    def __init__(self, graph: Graph, heads: Sequence[str], feeds: Sequence[Feed]) -> None:
        """Run the float network.

        Args:
            graph: the float network.
            heads: the values to compare, each (1, columns).
            feeds: images, as the graph's inputs take them.
        """
        self.heads = tuple(heads)
        step = max(len(feeds) // _FIRST, 1)
        self.feeds = [feeds[index] for index in sorted(range(len(feeds)), key=lambda index: index % step > 0)]
        self._chain = Chain(self.feeds, heads)
        self._expected = self.outputs(graph, Plan())

    def noise(self, graph: Graph, plan: Plan) -> float:
        """Noise power over signal power at the heads (mean over heads) of `graph` stored as `plan` says.

        Args:
            graph: equal to the float network in its outputs, though not in its nodes.
            plan: of that graph.
        """
        return self._noise(self.outputs(graph, plan))

    def noise_and_left(self, graph: Graph, plan: Plan) -> tuple[float, float]:
        """The same, and what of it correction leaves, as `noise_of` counts.

        Args:
            graph: as for `noise`.
            plan: of that graph.
        """
        found = self.outputs(graph, plan)
        return self._noise(found), self._typical_noise(found)

    def noise_and_drop(self, graph: Graph, plan: Plan, answers: Mapping[str, Answer]) -> tuple[float, float]:
        """The noise, and the drop in accuracy that is to be expected of the worst head, in percentage points.

        Args:
            graph: as for `noise`.
            plan: of that graph.
            answers: what each head's values are read as.
        """
        found = self.outputs(graph, plan)
        drops = [expected_drop(self._expected[head], found[head], answers[head]) for head in self.heads]
        return self._noise(found), max(drops)

    def changes(self, graph: Graph, plan: Plan, answers: Mapping[str, Answer]) -> float:
        """The share of answers that is expected to change, of the worst head.

        Args:
            graph: as for `noise`.
            plan: of that graph.
            answers: what each head's values are read as.
        """
        found = self.outputs(graph, plan)
        return max(expected_changes(self._expected[head], found[head], answers[head]) for head in self.heads)

    def noise_of(
        self, graph: Graph, stored: Mapping[str, QuantParams], matters: float = 0.0, changed: Iterable[str] = ()
    ) -> float:
        """The same where only the activations `stored` are integers, and all is computed in float.

        What one shift for each column would take away does not count: correcting biases takes it away.  Nor do the
        images that add most, one in sixteen: few images are measured, and one that is unlike others is chance.

        Args:
            graph: as for `noise`.
            stored: how each is stored.
            matters: the noise that something depends on; what is clearly less is told after a few images.
            changed: values that are others than in the float network, or are read otherwise.
        """
        readers = {node.name for value in stored for node in graph.consumers.get(value, ())}
        makers = {graph.producers[value].name for value in stored if value in graph.producers}
        plan = Plan(stored, dict.fromkeys(sorted(readers | makers), "int8"))
        part = self.part(graph, [*stored, *changed])
        outputs = self._chain.finish(part, plan)
        first = list(outputs(islice(part.feeds, _FIRST))) if matters else []
        noise = self._typical_noise(self._named(first)) if first else inf
        if noise < _CLEARLY * matters:
            return noise
        return self._typical_noise(self._named([*first, *outputs(islice(part.feeds, len(first), None))]))

    def noise_of_heads(self, plan: Plan) -> float:
        """The same where only the heads are integers, without a run; infinite where the Plan does not store them."""
        if not plan.tensors.keys() >= set(self.heads):
            return inf
        stored = {head: plan.tensors[head] for head in self.heads}
        return self._noise(
            {head: params.dequantize(params.quantize(self._expected[head])) for head, params in stored.items()}
        )

    def stored_alone(self, graph: Graph, views: Mapping[str, View]) -> dict[str, QuantParams]:
        """How each value would be stored by itself, judged through its view, as the images have it."""
        part = self.part(graph, views)
        return stored_alone(part.graph, views, part.feeds)

    def part(self, graph: Graph, values: Iterable[str]) -> Part:
        """The part of `graph` that makes and reads `values`, and what it reads for each image."""
        return self._chain.part(graph, values)

    def _noise(self, found: Mapping[str, Any]) -> float:
        return float(np.mean([_ratio(self._expected[head], found[head]) for head in self.heads]))

    def _typical_noise(self, found: Mapping[str, Values]) -> float:
        ratios = [_typical_ratio(self._expected[head][: len(found[head])], found[head]) for head in self.heads]
        return float(np.mean(ratios))

    def outputs(self, graph: Graph, plan: Plan) -> dict[str, Values]:
        """What the heads are for every image, (images, columns)."""
        return self._named(list(run_each([runnable(observing(graph, self.heads), plan)], self.feeds)))

    def _named(self, rows: Sequence[Sequence[Any]]) -> dict[str, Values]:
        return {head: _stacked(row[index] for row in rows) for index, head in enumerate(self.heads)}


def _stacked(rows: Iterable[Any]) -> Values:
    return np.stack([np.asarray(row, np.float64).reshape(-1) for row in rows])


def _shift(expected: Values, found: Values) -> Values:
    """How far each column is off in the mean over images; 0 for a single image, of which it would be all the noise."""
    shift: Values = (found - expected).mean(axis=0)
    return shift if len(expected) > 1 else np.zeros_like(shift)


def _ratio(expected: Values, found: Values) -> float:
    """Noise over signal."""
    noise, signal = _powers(expected, found)
    return float(noise.sum() / max(signal.sum(), 1e-12))


def _typical_ratio(expected: Values, found: Values) -> float:
    """The same without the images that are noisiest, and without shifts of columns."""
    noise, _ = _powers(expected, found)
    kept = np.argsort(noise, kind="stable")[: len(noise) - len(noise) // _UNUSUAL]
    expected, found = expected[kept], found[kept]
    return _ratio(expected, found - _shift(expected, found))


def _powers(expected: Values, found: Values) -> tuple[Values, Values]:
    """Of noise and signal for each image, leaving out what is common to all its columns: softmax does not see it."""
    noise, signal = found - expected, expected
    if expected.shape[1] > 2:
        noise, signal = (values - values.mean(axis=1, keepdims=True) for values in (noise, signal))
    return np.square(noise).sum(axis=1), np.square(signal).sum(axis=1)
