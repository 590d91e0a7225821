"""What shrinking is asked for: what the artifacts may take, and how long it may learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log
from typing import NamedTuple

from edgefer.graph.ir import Graph
from edgefer.shrink.remove import Measure

ROUND = 0.08
"""The share of what is left that a round removes."""

REACH = 0.9
"""Where more than this share of a network had to go, nothing that answers like it would be left."""

STEP_PIXELS = 32 * 64 * 64
"""A step of learning looks at images of about so many pixels,"""

STEP_PASSES = 5
"""and takes about so many times as long as answering for them: twice, and then come the gradients."""


def can_reach(whole: float, least: float) -> bool:
    """Whether something sensible is left where `whole` comes down to `least`."""
    return least >= (1 - REACH) * whole


def rounds(whole: float, least: float) -> int:
    """About how many it takes to come from `whole` to `least`."""
    return max(ceil(log(max(least / whole, 0.01)) / log(1 - ROUND)), 1)


class Steps(NamedTuple):
    """How long weights are learned after each round, after the last one, and at last through quantized arithmetic."""

    each: int
    last: int
    stored: int = 0

    def of(self, rounds: int) -> int:
        """Those in float."""
        return (rounds - 1) * self.each + self.last

    def seconds(self, rounds: int, pixels: int, seconds_for_an_image: float) -> float:
        """About how long they take, before a step was timed, by what an image of so many pixels takes in float."""
        return (self.of(rounds) + self.stored) * STEP_PASSES * max(STEP_PIXELS / pixels, 8) * seconds_for_an_image


@dataclass(frozen=True)
class Limit:
    """What the artifacts may take at most.

    Attributes:
        measure: what groups of channels take of it.
        of: what the full-int8 artifacts of a graph take.
        most: at most so much.
        missed: says that this much is the least that can be had.
    """

    measure: Measure
    of: Callable[[Graph], float]
    most: float
    missed: Callable[[float], str]
