"""A round of shrinking: a network becomes lighter in the quietest way, before what is left learns again.

Channels go that matter least for what they take.  What can be computed more plainly for less noise than that costs goes
first; and where large layers through fewer channels are as light and quieter, they stand instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

from edgefer.graph.groups import Chosen, Groups, find_groups, without
from edgefer.graph.ir import Feed, Graph
from edgefer.plan import Plan
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.ranges import Values
from edgefer.shrink.journal import Journal
from edgefer.shrink.landmarks import Places, left_of
from edgefer.shrink.low_rank import through_fewer
from edgefer.shrink.plainer import plainly
from edgefer.shrink.refit import observed, refitted
from edgefer.shrink.remove import Bytes, Measure, chosen


@dataclass(frozen=True)
class Student:
    """A smaller network on its way.

    Attributes:
        graph: with the inputs and heads of the original.
        places: values on the way that it is to compute as the original does.
        in_two: layers that are computed in two steps, through fewer channels.
        plainer: kernels that have fewer taps, and gates that are gone.
    """

    graph: Graph
    places: Places
    in_two: int = 0
    plainer: int = 0


@dataclass(frozen=True)
class Lighter:
    """What makes a network lighter.

    Attributes:
        journal: of what was chosen.
        worths: tells what each group of channels is worth.
        judge: measures noise, on images that nothing is fitted on.
        feeds: others, to fit on.
    """

    journal: Journal
    worths: Callable[[Groups], Values]
    judge: Sensitivity
    feeds: Sequence[Feed]

    def made(self, student: Student, measure: Measure, target: float, step: str) -> Student:
        """The quietest that takes about `target`, or comes as close as it can; itself where nothing can go.

        Args:
            student: what it is made of.
            measure: of what is to become less.
            target: how much is to be left.
            step: the name of what is chosen, in the journal.
        """
        by_channels = self._by_channels(student, measure, target, step)
        saved = measure.of(student.graph) - measure.of(by_channels.graph)
        price = (self._noise(by_channels.graph) - self._noise(student.graph)) / saved if saved > 0 else inf
        graph, count = plainly(student.graph, self.feeds, self._noise, measure, price, target)
        if not count:
            return by_channels
        left = {value: place for value, place in student.places.items() if value in graph.producers}
        plain = Student(graph, left, student.in_two, student.plainer + count)
        both = self._by_channels(plain, measure, target, f"{step}-and")
        return both if saved <= 0 or self._noise(both.graph) < self._noise(by_channels.graph) else by_channels

    def _by_channels(self, student: Student, measure: Measure, target: float, step: str) -> Student:
        """Without channels, or where that is quieter and as light with layers of low rank."""
        groups = find_groups(student.graph)
        gone = self._gone(groups, measure, target, step)
        if not gone.any():
            return student
        refit, plain = refitted(groups, gone, observed(groups, self.feeds)), without(groups, gone)
        found = refit if self._noise(refit) < self._noise(plain) else plain
        smaller = replace(student, graph=found, places=left_of(student.places, groups, gone, found))
        before, after = measure.of(student.graph), measure.of(found)
        low = through_fewer(student.graph, self.feeds, Bytes().of(student.graph) * (1 - after / before))
        if low is None or measure.of(low) > after or self._noise(low) >= self._noise(found):
            return smaller
        return replace(student, graph=low, in_two=student.in_two + len(low.nodes) - len(student.graph.nodes))

    def _gone(self, groups: Groups, measure: Measure, target: float, step: str) -> Chosen:
        found = self.journal.read(step)
        if found is None:
            found = {"gone": chosen(groups, self.worths(groups), measure, target)}
            self.journal.write(step, found)
        return found["gone"]

    def _noise(self, graph: Graph) -> float:
        found = self.judge.noise(graph, Plan())
        return found if isfinite(found) else inf
