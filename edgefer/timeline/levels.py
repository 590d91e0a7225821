"""Levels of frame rate, from the lowest to every frame."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor


@dataclass(frozen=True)
class Levels:
    """What a policy does.

    Attributes:
        window_s: length of a window, seconds.
        strides: of the levels, each dividing the one before, the last 1.
        thresholds: from which confidence each level's answer is taken; the last level's is 0, as it always answers.
    """

    window_s: float
    strides: tuple[int, ...]
    thresholds: tuple[float, ...]

    def window(self, time_s: float) -> int:
        """Which window a time lies in."""
        return floor(time_s / self.window_s + 1e-9)
