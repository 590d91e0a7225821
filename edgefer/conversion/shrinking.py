"""`convert --shrink`: what the artifacts may take, how long a smaller network learns, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import prod

import numpy as np

from edgefer.conversion.max_latency import MaxLatency
from edgefer.errors import about
from edgefer.graph.contract import contract_nodes
from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.host.memory import release
from edgefer.host.progress import Progress
from edgefer.host.units import format_size
from edgefer.images import CalibrationImages, ImageSet
from edgefer.images.preprocess import iter_pixels
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel
from edgefer.quantize.costs.prices import int8_cost
from edgefer.quantize.lessons import Effort, Lessons
from edgefer.quantize.observe.drop import Answer
from edgefer.quantize.solve.size import sized_plan
from edgefer.shrink.asked import Limit, Steps
from edgefer.shrink.journal import Entry
from edgefer.shrink.remove import Bytes, Time
from edgefer.shrink.shrink import Shrunk, shrink
from edgefer.spec import InputSpec

LEARNED: Mapping[Effort, Steps] = {
    "fast": Steps(20, 250, 80),
    "balanced": Steps(60, 1000, 300),
    "best": Steps(100, 6000, 600),
}
"""How long the weights of a smaller network are learned again."""

LEARNED_BYTES = 512_000_000
"""Pixels of unlabelled images that are kept in memory; of more images, as many from all over the set."""

SPARE = 0.015
"""The share of a bound, on bytes or on latency, that a smaller network leaves for what quantization adds."""

_RATE = 8.0
"""Weights that a smaller network has only just learned move on through the quantized arithmetic by larger steps."""


@dataclass(frozen=True)
class Shrinking:
    """A network, and what it learns on where it is to become smaller.

    Attributes:
        network: the network.
        graph: its normalised graph.
        heads: the values to follow, and what they are read as.
        images: to calibrate on, and held back.
        unlabelled: more to learn on, where the user has them, of which some may be among `images`.
        effort: how much time may be spent.
        size: bytes of the largest artifact of a graph and its Plan.
        machine: whose costs tell how long a network takes.
    """

    network: Network
    graph: Graph
    heads: Mapping[str, Answer]
    images: CalibrationImages
    unlabelled: ImageSet | None
    effort: Effort
    size: Callable[[Graph, Plan], int]
    machine: CostModel

    def shrunk(self, budget: int, latency: MaxLatency | None, progress: Progress) -> Shrunk | None:
        """The network with fewer channels; None where full int8 keeps the bounds."""
        whole = int8_cost(self.graph, self.machine)
        spec = self.network.spec.input
        with about(self.network.source.path):
            found = shrink(
                self.graph,
                self.heads,
                self._learned_on(),
                _pixels(self.images.held_back, spec),
                self._limits(budget, latency),
                LEARNED[self.effort],
                lambda graph: (self._in_int8(graph), int8_cost(graph, self.machine) / whole),
                progress,
            )
        release()
        return found

    def lessons(self, shrunk: Shrunk) -> Lessons | None:
        """How what is left goes on learning in int8; None where it was not learned before either."""
        if not shrunk.stored_steps:
            return None

        def kept(graph: Graph, plan: Plan) -> Entry:
            digest = sha256(to_onnx(graph).SerializeToString(deterministic=True) + plan.to_json().encode())
            return Entry(shrunk.journal, f"stored-{digest.hexdigest()[:16]}")

        return Lessons(self.graph, self._learned_on, shrunk.stored_steps, _RATE, kept)

    def _limits(self, budget: int, latency: MaxLatency | None) -> list[Limit]:
        """What full int8 may take, a little less than the bounds: dividing and scaling channels adds to both."""

        def too_large(least: float) -> str:
            return (
                f"with all channels removed that can go, int8 takes about {int(least):,} bytes, and the budget is "
                f"{format_size(budget)}; give a --budget of that size, or a smaller network"
            )

        limits = [Limit(Bytes(), self._in_int8, budget * (1 - SPARE), too_large)]
        if latency is not None:
            allowed, text = latency.allowed(self.graph), latency.text

            def too_slow(least: float) -> str:
                return (
                    f"with all channels removed that can go, int8 takes about {least / allowed:.2f} times "
                    f"--max-latency {text}; allow more, or take a smaller network"
                )

            time = Time(latency.machine)
            limits.append(Limit(time, time.of, allowed * (1 - SPARE), too_slow))
        return limits

    def _in_int8(self, graph: Graph) -> int:
        return self.size(graph, sized_plan(graph, contract_nodes(graph)))

    def _learned_on(self) -> list[Array]:
        """Pixels of the images to calibrate on, and of more that are none of these and are not held back."""
        spec = self.network.spec.input
        most = LEARNED_BYTES // (prod(spec.size) * 3)
        learned = _pixels(self.images.calibration.some(most), spec)
        if self.unlabelled is not None:
            known = {_digest(pixels) for pixels in (*learned, *_pixels(self.images.held_back, spec))}
            more = self.unlabelled.some(most - len(learned))
            learned += [pixels for pixels in _pixels(more, spec) if _digest(pixels) not in known]
        return learned


def _pixels(images: ImageSet, spec: InputSpec) -> list[Array]:
    return [pixels[np.newaxis] for pixels in iter_pixels(images, spec)]


def _digest(pixels: Array) -> bytes:
    return sha256(pixels.data).digest()
