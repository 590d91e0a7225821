"""`convert --shrink`: where full int8 is over a bound, channels go until it is not, those that matter least.

They go in rounds, as what a channel is worth depends on those that are left, and what reads them guesses those that are
gone from those that are left, by least squares.  With PyTorch, weights are then learned again so that the
heads answer as the original's, longest after the last round.  What makes the network no better on images that were held
back is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from math import log10
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from edgefer.errors import UnsupportedOperatorError
from edgefer.graph.groups import Groups, find_groups
from edgefer.graph.ir import Array, Feed, Graph
from edgefer.graph.macs import macs, parameters
from edgefer.graph.onnx_io import to_onnx
from edgefer.host.progress import Progress
from edgefer.host.text import counted
from edgefer.images import evenly
from edgefer.plan import Plan
from edgefer.quantize.observe.drop import Answer
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.ranges import Values
from edgefer.shrink.asked import ROUND, Limit, Steps, rounds
from edgefer.shrink.journal import Entry, Journal
from edgefer.shrink.landmarks import Places, landmarks
from edgefer.shrink.lighter import Lighter, Student
from edgefer.shrink.refit import observed, shares
from edgefer.shrink.remove import any_can_go

FITTED_ON = 1024
"""At most so many images tell how what is left guesses what is gone."""

JUDGED_ON = 256
"""At most so many images tell what channels are worth, and so many others whether a network is better."""

_VERSION = 7  # of what a journal holds

_T = TypeVar("_T")


@dataclass(frozen=True)
class Round:
    """What a network was after a round.

    Attributes:
        parameters: that it had.
        macs: its multiply-accumulates.
        bytes: of its largest artifact in full int8.
        latency: times that of the original in full int8, by the cost model.
        noise: over signal at the heads, in float, on images that were held back.
        drop: the loss of accuracy to expect, in percentage points, likewise.
    """

    parameters: int
    macs: int
    bytes: int
    latency: float
    noise: float
    drop: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        sqnr = -10 * log10(self.noise) if self.noise else None
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "bytes": self.bytes,
            "latency": self.latency,
            "sqnr_db": sqnr,
            "drop": self.drop,
        }


@dataclass(frozen=True)
class Shrunk:
    """A smaller network, and what it came to.

    Attributes:
        student: the smaller network.
        before: the original.
        learned: steps whose weights were kept.
        images: that it was learned on.
        rounds: the way there.
        stored_steps: for how long it is yet to be learned, through the quantized arithmetic.
        journal: to be closed when that is done.
    """

    student: Student
    before: Graph
    learned: int
    images: int
    rounds: tuple[Round, ...]
    stored_steps: int
    journal: Journal

    @property
    def graph(self) -> Graph:
        """Of the smaller network."""
        return self.student.graph

    def to_dict(self) -> dict[str, int]:
        """Plain data, for the manifest."""
        return {
            "parameters_before": parameters(self.before),
            "parameters": parameters(self.graph),
            "macs_before": macs(self.before),
            "macs": macs(self.graph),
            "learned_steps": self.learned,
            "images": self.images,
            "in_two_steps": self.student.in_two,
            "plainer": self.student.plainer,
        }


def shrink(
    graph: Graph,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    held_back: Sequence[Array],
    limits: Sequence[Limit],
    steps: Steps,
    takes: Callable[[Graph], tuple[int, float]],
    progress: Progress,
) -> Shrunk | None:
    """A network of as many fewer channels as the limits ask for; None where they ask for none, or none can go.

    Args:
        graph: the float network, pixels in and meanings out.
        heads: the values to follow, each (1, columns), and what they are read as.
        images: to learn on, uint8 (1, H, W, 3); no labels are needed.
        held_back: others, to judge by.
        limits: what the artifacts may take.
        steps: how long weights are learned, where they can be.
        takes: bytes of the largest artifact of a graph in full int8, and what it takes over the original.
        progress: listens, and is told beforehand how long it takes, and where limits cannot be kept.
    """
    over = _over(limits, graph)
    if over.excess <= 0:
        return None
    (image,) = graph.inputs
    feeds = [{image: images[index]} for index in evenly(len(images), FITTED_ON)]
    way = _way(graph, heads, images, [feeds[index] for index in evenly(len(feeds), JUDGED_ON)], steps, progress)
    others = [{image: held_back[index]} for index in evenly(len(held_back), JUDGED_ON)]
    judge = Sensitivity(graph, tuple(heads), others)
    seconds = way.seconds()  # which may find that nothing can be learned
    whole = over.limit.measure.of(graph)
    expected = rounds(whole, whole - over.excess)
    journal = Journal(_key(graph, heads, images, limits, way.steps))
    if journal.is_begun:
        progress.note("shrinking goes on where it was interrupted, with the same network, images and bounds")
    elif way.steps.last and any_can_go(find_groups(graph), over.limit.measure):
        progress.note(_told(expected, way.steps, seconds, len(images)))
    student, number, learned, refused = Student(graph, landmarks(graph)), 0, 0, 0
    lighter = Lighter(journal, way.worths, judge, feeds)
    taken: list[Round] = []
    with progress.stage("shrink", way.steps.of(expected) or None) as advance:
        while over.excess > 0:
            number, measure = number + 1, over.limit.measure
            left = measure.of(student.graph)
            smaller = lighter.made(student, measure, max(left - over.excess, left * (1 - ROUND)), f"{number}-gone")
            if smaller is student:
                break
            student, over = smaller, _over(limits, smaller.graph)
            if count := way.steps.each if over.excess > 0 else way.steps.last:
                better = way.learned(student.graph, student.places, count, advance, Entry(journal, f"{number}-learned"))
                if judge.noise(better, Plan()) < judge.noise(student.graph, Plan()):
                    student, learned = replace(student, graph=better), learned + count
                elif better is not student.graph:
                    refused += 1
            noise, drop = judge.noise_and_drop(student.graph, Plan(), heads)
            taken.append(Round(parameters(student.graph), macs(student.graph), *takes(student.graph), noise, drop))
    if student.graph is graph:
        progress.note("nothing of this network can be removed: it stays as it is without --shrink")
        journal.close()
        return None
    if refused:
        progress.note(
            f"in {refused} of {counted(number, 'round')} the network that had learned was no closer to the original on "
            "the held-back images, and was not taken"
        )
    for limit in limits:
        if (least := limit.of(student.graph)) > limit.most:
            progress.note(limit.missed(least))
    return Shrunk(student, graph, learned, len(images), tuple(taken), way.steps.stored, journal)


class Way(Protocol):
    """How groups are judged, and what is left made better.

    Attributes:
        steps: how long it learns.
    """

    @property
    def steps(self) -> Steps:
        """How long it learns."""

    def seconds(self) -> float:
        """What a step takes here, of the original."""

    def worths(self, groups: Groups) -> Values:
        """What each group is worth."""

    def learned(self, student: Graph, places: Places, steps: int, advance: Callable[[], None], kept: Entry) -> Graph:
        """A smaller network with weights that bring it closer to the original."""


class Refitting:
    """Without gradients: by what groups add to what reads them, and nothing beyond least squares."""

    steps = Steps(0, 0)

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds

    def seconds(self) -> float:
        """None."""
        return 0.0

    def worths(self, groups: Groups) -> Values:
        """Their shares of variance."""
        return shares(groups, observed(groups, self._feeds))

    def learned(self, student: Graph, places: Places, steps: int, advance: Callable[[], None], kept: Entry) -> Graph:
        """As it is."""
        return student


class AsFarAsItGoes:
    """One way, until it meets an operator that it does not know, and then another."""

    def __init__(self, way: Way, otherwise: Way, progress: Progress) -> None:
        self._way, self._otherwise, self._progress = way, otherwise, progress

    @property
    def steps(self) -> Steps:
        """Those of the way it now is."""
        return self._way.steps

    def seconds(self) -> float:
        """As of a way."""
        return self._tried(lambda way: way.seconds())

    def worths(self, groups: Groups) -> Values:
        """As of a way."""
        return self._tried(lambda way: way.worths(groups))

    def learned(self, student: Graph, places: Places, steps: int, advance: Callable[[], None], kept: Entry) -> Graph:
        """As of a way."""
        return self._tried(lambda way: way.learned(student, places, steps, advance, kept))

    def _tried(self, ask: Callable[[Way], _T]) -> _T:
        try:
            return ask(self._way)
        except UnsupportedOperatorError as error:
            self._progress.note(
                f"what is left cannot be learned again: {error.message}; it is fitted by least squares alone, which "
                "loses more, so that a larger bound may be needed, or a network exported without that operator"
            )
            self._way = self._otherwise
            return ask(self._way)


def _way(
    graph: Graph,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    few: Sequence[Feed],
    steps: Steps,
    progress: Progress,
) -> Way:
    """By gradients where there is PyTorch, as far as it knows all operators."""
    refitting = Refitting(few)
    if find_spec("torch") is None:
        progress.note(
            "without PyTorch, what is left of a smaller network is fitted by least squares alone, and not learned "
            "again; pip install 'edgefer[torch]'"
        )
        return refitting
    from edgefer.shrink.learning import Learning

    learning = Learning(graph, heads, images, [pixels for feed in few for pixels in feed.values()], steps)
    return AsFarAsItGoes(learning, refitting, progress)


class _Over(NamedTuple):
    """The limit that is missed most, and by how much, in its unit."""

    limit: Limit
    excess: float


def _over(limits: Sequence[Limit], graph: Graph) -> _Over:
    found = [_Over(limit, limit.of(graph) - limit.most) for limit in limits]
    return max(found, key=lambda over: over.excess / over.limit.most)


def _told(count: int, lasting: Steps, seconds: float, images: int) -> str:
    steps = lasting.of(count) + lasting.stored
    minutes = max(round(steps * seconds / 60), 1)
    return (
        f"shrinking takes about {counted(minutes, 'minute')} here: {counted(count, 'round')} of removing channels, "
        f"and {steps:,} steps of learning on {counted(images, 'image')}, {seconds:.2f} s each; if interrupted, it "
        "goes on where it was when asked for the same again"
    )


def _key(
    graph: Graph, heads: Mapping[str, Answer], images: Sequence[Array], limits: Sequence[Limit], steps: Steps
) -> str:
    """Of all that the result depends on."""
    digest = sha256(to_onnx(graph).SerializeToString(deterministic=True))
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    tools = [f"{tool} {version(tool)}" for tool in ("edgefer", "torch") if find_spec(tool) is not None]
    bounds = [(type(limit.measure).__name__, limit.most) for limit in limits]
    digest.update(repr([_VERSION, dict(heads), bounds, steps, ROUND, tools]).encode())
    return digest.hexdigest()
