"""`convert --shrink`: where full int8 is over the budget, channels go until it is not, those that matter least.

They go in rounds, as what a channel is worth depends on those that are left; between rounds, and longer after the
last, weights are learned again so that the heads answer as the original's.  What learning makes no better, on images
that were held back, is not kept.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np

from edgefer.graph.groups import find_groups
from edgefer.graph.ir import Array, Graph
from edgefer.graph.macs import macs, parameters
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import Tensor, TorchGraph, torch
from edgefer.host.progress import Progress
from edgefer.host.units import format_size
from edgefer.images import evenly
from edgefer.quantize.fit.learn import divergence
from edgefer.quantize.observe.drop import Answer
from edgefer.shrink.distil import distil
from edgefer.shrink.remove import Bytes, lightened
from edgefer.shrink.worth import worths

ROUND = 0.08
"""The share of what is left that a round removes."""

STEPS, LAST_STEPS = 30, 200
"""How long weights are learned after each round, and after the last one."""

SPARE = 0.015
"""The share of the budget that is left for what quantization adds: divided layers, channels brought to one level."""

JUDGED_ON = 256
"""At most so many images tell what channels are worth, and so many others whether learning helped."""


@dataclass(frozen=True)
class Shrunk:
    """A smaller network, and what it came to.

    Attributes:
        graph: with the inputs and heads of the original.
        before: the original.
        learned: steps whose weights were kept.
        images: that it was learned on.
    """

    graph: Graph
    before: Graph
    learned: int
    images: int

    def to_dict(self) -> dict[str, int]:
        """Plain data, for the manifest."""
        return {
            "parameters_before": parameters(self.before),
            "parameters": parameters(self.graph),
            "macs_before": macs(self.before),
            "macs": macs(self.graph),
            "learned_steps": self.learned,
            "images": self.images,
        }


def shrink(
    graph: Graph,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    held_back: Sequence[Array],
    size: Callable[[Graph], int],
    budget: int,
    progress: Progress,
) -> Shrunk | None:
    """A network of as many fewer channels as the budget asks for; None where it asks for none, or none can go.

    Args:
        graph: the float network, pixels in and meanings out.
        heads: the values to follow, each (1, columns), and what they are read as.
        images: to learn on, uint8 (1, H, W, 3); no labels are needed.
        held_back: others, to judge by.
        size: bytes of the largest int8 artifact of a graph.
        budget: bytes that it may have.
        progress: listens, and is told where the budget cannot be kept.

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    room = int(budget * (1 - SPARE))
    stored = Bytes()
    full, whole = size(graph), stored.of(graph)
    if full <= room:
        return None
    few = [images[index] for index in evenly(len(images), JUDGED_ON)]
    rounds = ceil(log(max(whole + room - full, 1) / whole) / log(1 - ROUND))
    judge = _Judge(graph, heads, [held_back[index] for index in evenly(len(held_back), JUDGED_ON)])
    student, kept, excess = graph, 0, full - room
    with progress.stage("shrink", (rounds - 1) * STEPS + LAST_STEPS) as advance:
        while excess > 0:
            left, groups = stored.of(student), find_groups(student)
            worth = worths(groups, tuple(heads), few)
            smaller = lightened(groups, worth, stored, max(left - excess, left * (1 - ROUND)))
            if smaller is student:
                break
            student, excess = smaller, size(smaller) - room
            steps = STEPS if excess > 0 else LAST_STEPS
            learned = distil(student, graph, heads, images, steps, advance)
            if judge.distance(learned) < judge.distance(student):
                student, kept = learned, kept + steps
    if excess > 0:
        progress.note(
            f"with all channels removed that can go, int8 takes about {room + excess:,} bytes, and the budget is "
            f"{format_size(budget)}; give a --budget of that size, or a smaller network"
        )
    return Shrunk(student, graph, kept, len(images)) if student is not graph else None


class _Judge:
    """How far a network's heads are from the original's, on images that nothing is learned on."""

    def __init__(self, graph: Graph, heads: Mapping[str, Answer], images: Sequence[Array]) -> None:
        self._heads = heads
        self._images = images
        self._expected = self._of(graph)

    def distance(self, graph: Graph) -> float:
        """How far a network's heads are off, by what is made small in learning."""
        pairs = zip(self._expected, self._of(graph), self._heads.values(), strict=True)
        return float(np.mean([float(divergence(*pair)) for pair in pairs]))

    def _of(self, graph: Graph) -> list[Tensor]:
        names = tuple(self._heads)
        network = TorchGraph(extract(graph, graph.inputs, names))
        with torch.no_grad():
            each = [network(torch.from_numpy(image).float(), names) for image in self._images]
        return [torch.cat(values) for values in zip(*each, strict=True)]
