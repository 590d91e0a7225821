"""On which frames the network is asked: all of them, every n-th, or as many as an answer needs (`policy`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.images import Image
from edgefer.timeline.levels import Levels

Answers: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
Network: TypeAlias = Callable[[Image], Answers]
"""Pixels of the network's size in, heads by name out, float32 (columns,)."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What the network said of a frame.

    Attributes:
        frame: its index.
        level: of the policy, from 1.
        answers: by head.
    """

    frame: int
    level: int
    answers: Answers


class Asking(Protocol):
    """Follows one face, and asks the network where it sees fit."""

    def see(self, frame: int, time_s: float, pixels: Image) -> list[Asked]:
        """Take the face in a frame into account; returns what was asked since, which may be of earlier frames."""
        ...

    def finish(self) -> list[Asked]:
        """The face is gone, or the source at its end: what is left to ask."""
        ...


class ByLevels:
    """Asks, window by window, on the frames of one level after the other until an answer is sure enough."""

    def __init__(self, network: Network, levels: Levels, head: str) -> None:
        """Nothing is asked yet.

        Args:
            network: that is asked.
            levels: of a policy.
            head: whose largest mean value tells how sure an answer is.
        """
        self._network, self._levels, self._head = network, levels, head
        self._window: int | None = None
        self._waiting: list[tuple[int, Image]] = []

    def see(self, frame: int, time_s: float, pixels: Image) -> list[Asked]:
        """Keep the frame until its window is over."""
        window = self._levels.window(time_s)
        asked = self.finish() if window != self._window else []
        self._window = window
        self._waiting.append((frame, pixels))
        return asked

    def finish(self) -> list[Asked]:
        """Ask about the window that is over."""
        asked: dict[int, Asked] = {}
        for level, (stride, threshold) in enumerate(zip(self._levels.strides, self._levels.thresholds, strict=True), 1):
            for frame, pixels in self._waiting:
                if frame % stride == 0 and frame not in asked:
                    asked[frame] = Asked(frame, level, self._network(pixels))
            if asked and np.mean([each.answers[self._head] for each in asked.values()], axis=0).max() >= threshold:
                break
        self._waiting = []
        return list(asked.values())


class EveryNth:
    """Asks on frames whose index `stride` divides, so that faces and repeated runs share a grid."""

    def __init__(self, network: Network, stride: int = 1) -> None:
        self._network = network
        self._stride = stride

    def see(self, frame: int, time_s: float, pixels: Image) -> list[Asked]:
        """Ask at once, or not at all."""
        return [Asked(frame, 1, self._network(pixels))] if frame % self._stride == 0 else []

    def finish(self) -> list[Asked]:
        """Nothing waits."""
        return []
