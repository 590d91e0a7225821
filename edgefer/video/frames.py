"""A source of frames: pictures in order, each with the time at which it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from edgefer.images import Image


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture and when it was taken.

    Attributes:
        index: its place in the source, from 0.
        time_s: seconds from the start of the source, as the source itself says.
        image: uint8 (H, W, 3), RGB.
    """

    index: int
    time_s: float
    image: Image


class Source(Protocol):
    """Where frames come from."""

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of its content; `""` for what cannot be read twice."""
        ...

    @property
    def expected(self) -> int | None:
        """About how many frames it has, None where it does not say."""
        ...

    def carried(self) -> Source:
        """The same, with all its data: it is read without this machine's files.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def frames(self) -> Iterator[Frame]:
        """Its frames, in order.

        Raises:
            InputError: it cannot be read, or its times do not rise.
        """
        ...
