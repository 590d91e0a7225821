"""How far ranges allow for values that are larger than most: settled by what images lose that none was chosen by.

The least squared error over the images calibrated on takes all errors for rounding.  But rounding is averaged out on
the way to the answers, and what is cut off an image that is louder than others is not: of a StarNet and a Visformer,
briefly trained, such images held nearly all of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import TypeVar

from edgefer.quantize.scales.ranges import Caution

WARIER = Caution(16), Caution(16, 1.25)
"""What is allowed for values larger than most, in turn, as long as it takes much of the noise from held-back images."""

LITTLE = 0.8
"""What each may leave of the noise."""

FREE = 2e-4
"""Noise over signal that answers do not tell: networks that have less may have as much for wider ranges."""

FURTHER = 1.25
"""Up to so many times as far they then reach, for images that are louder than any seen.

Where one image of hundreds is, it holds nearly all of the noise: of a ResNet-18 and a DAN, briefly trained, 6 dB."""

Way = TypeVar("Way")


def cautiously(planned: Callable[[Caution], Way], noise: Callable[[Way], float], unseen: float) -> tuple[Caution, Way]:
    """How far ranges allow for values that are larger than most, by the noise on images held back.

    Args:
        planned: how the network is stored so.
        noise: of what that returns.
        unseen: how many times values beyond a range count in any case.

    Returns:
        what was chosen, and what `planned` made of it.
    """
    chosen = Caution(unseen)
    way = planned(chosen)
    before = noise(way)
    for further in WARIER:
        warier = replace(further, clipped=further.clipped * unseen)
        candidate = planned(warier)
        after = noise(candidate)
        if after > LITTLE * before:
            break
        chosen, way, before = warier, candidate, after
    reach = min(FURTHER, sqrt(FREE / max(before, 1e-12)))
    if reach > chosen.beyond:
        chosen = replace(chosen, beyond=reach)
        way = planned(chosen)
    return chosen, way
