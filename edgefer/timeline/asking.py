"""On which frames the network is asked: all of them, every n-th, or as many as an answer needs (`policy`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
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
        time_s: its time.
        level: of the policy, from 1.
        answers: by head.
    """

    frame: int
    time_s: float
    level: int
    answers: Answers


class Asking(Protocol):
    """Follows one face, and asks the network where it sees fit."""

    def see(self, frame: int, time_s: float, pixels: Image | None) -> list[Asked]:
        """Take a frame into account, None if the face is not in it; what was asked since, which may be of others."""
        ...

    def finish(self) -> list[Asked]:
        """The face is gone, or the source at its end: what is left to ask."""
        ...


class ByLevels:
    """Asks, window by window, on the frames of one level after the other until an answer is sure enough.

    Frames of the first level are asked on as they come; the others wait until their window is over.
    """

    def __init__(self, network: Network, levels: Levels, head: str) -> None:
        """Nothing is asked yet.

        Args:
            network: that is asked.
            levels: of a policy.
            head: whose largest mean value tells how sure an answer is.
        """
        self._network, self._levels, self._head = network, levels, head
        self._window: int | None = None
        self._waiting: list[tuple[int, float, Image]] = []
        self._answers: list[Answers] = []

    def see(self, frame: int, time_s: float, pixels: Image | None) -> list[Asked]:
        """Ask if the frame is of the first level, else keep it; ask about the window before, if that is over."""
        window = self._levels.window(time_s)
        asked = self.finish() if window != self._window else []
        self._window = window
        if pixels is None:
            return asked
        if frame % self._levels.strides[0] == 0:
            return [*asked, self._ask(frame, time_s, 1, pixels)]
        if frame % self._levels.strides[-1] == 0:
            self._waiting.append((frame, time_s, pixels))
        return asked

    def finish(self) -> list[Asked]:
        """Ask about the window that is over."""
        asked: list[Asked] = []
        for level, (stride, threshold) in enumerate(zip(self._levels.strides, self._levels.thresholds, strict=True), 1):
            here = [each for each in self._waiting if each[0] % stride == 0]
            self._waiting = [each for each in self._waiting if each[0] % stride]
            asked += [self._ask(frame, time_s, level, pixels) for frame, time_s, pixels in here]
            if self._confidence() >= threshold:
                break
        self._waiting, self._answers = [], []
        return asked

    def _ask(self, frame: int, time_s: float, level: int, pixels: Image) -> Asked:
        self._answers.append(self._network(pixels))
        return Asked(frame, time_s, level, self._answers[-1])

    def _confidence(self) -> float:
        if not self._answers:
            return -inf
        return float(np.mean([answers[self._head] for answers in self._answers], axis=0).max())


class EveryNth:
    """Asks on frames whose index `stride` divides, so that faces and repeated runs share a grid."""

    def __init__(self, network: Network, stride: int = 1) -> None:
        self._network = network
        self._stride = stride

    def see(self, frame: int, time_s: float, pixels: Image | None) -> list[Asked]:
        """Ask at once, or not at all."""
        if pixels is None or frame % self._stride:
            return []
        return [Asked(frame, time_s, 1, self._network(pixels))]

    def finish(self) -> list[Asked]:
        """Nothing waits."""
        return []
