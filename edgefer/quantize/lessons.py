"""What weights are learned from, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgefer.errors import UnsupportedOperatorError
from edgefer.graph.ir import Array, Graph
from edgefer.host.progress import Progress
from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_feeds
from edgefer.plan import Plan
from edgefer.quantize.observe.drop import Answer
from edgefer.spec import INPUT, Spec

if TYPE_CHECKING:
    from edgefer.quantize.fit.learn import Kept

Effort: TypeAlias = Literal["fast", "balanced", "best"]

STEPS: Mapping[Effort, int] = {"fast": 0, "balanced": 150, "best": 1000}
"""How long weights and biases are learned."""


@dataclass(frozen=True)
class Lessons:
    """What weights are learned from, where the calibration images and the graph itself are not all that there is.

    Attributes:
        reference: the float network to follow, with the same input and heads.
        images: uint8 (1, H, W, 3), as both take them, when they are needed.
        steps: how long, whatever the effort.
        rate: as of `learn`.
        kept: as of `learn`, for the graph and the Plan that it begins with.
    """

    reference: Graph
    images: Callable[[], Sequence[Array]]
    steps: int
    rate: float
    kept: Callable[[Graph, Plan], Kept] | None = None


def own_answers(graph: Graph, effort: Effort, images: ImageSet, spec: Spec, progress: Progress) -> Lessons:
    """The graph's own answers to the calibration images."""
    steps = _steps(effort, spec, progress)
    return Lessons(graph, lambda: [feed[INPUT] for feed in iter_feeds(images, spec)], steps, 1.0)


def learned_from(
    lessons: Lessons, stored: Graph, plan: Plan, heads: Mapping[str, Answer], progress: Progress
) -> Graph | None:
    """The graph with weights and biases that were learned; None where there is nothing to learn, or no way to.

    Args:
        lessons: what is learned from.
        stored: the graph that the Plan stores.
        plan: how.
        heads: as of `learn`.
        progress: listens.
    """
    if not lessons.steps:
        return None
    from edgefer.quantize.fit.fake_quantized import FakeQuantized
    from edgefer.quantize.fit.learn import learn

    try:
        FakeQuantized(stored, plan)
    except UnsupportedOperatorError as error:
        progress.note(f"weights stay rounded layer by layer, as they cannot be learned: {error.message}")
        return None
    with progress.stage("learn weights", lessons.steps) as advance:
        return learn(
            stored,
            plan,
            heads,
            lessons.images(),
            reference=lessons.reference,
            steps=lessons.steps,
            rate=lessons.rate,
            advance=advance,
            kept=lessons.kept and lessons.kept(stored, plan),
        )


def _steps(effort: Effort, spec: Spec, progress: Progress) -> int:
    """How long weights are learned, which needs PyTorch, and a network of one image."""
    if STEPS[effort] and spec.is_of_sequences:
        progress.note(
            "weights are rounded layer by layer: they are learned on single images, and this is no such network"
        )
        return 0
    if STEPS[effort] and find_spec("torch") is None:
        progress.note(
            f"--effort {effort} learns weights with PyTorch, which is not installed: they are rounded layer by layer; "
            "pip install 'edgefer[torch]'"
        )
        return 0
    return STEPS[effort]
