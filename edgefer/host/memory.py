"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # M_ARENA_MAX and the like of malloc.h
_LARGE = 1 << 20
"""Bytes from which memory goes back to the system as soon as it is freed;"""

_KEPT = 1 << 25
"""of smaller memory, so much stays at hand: to fetch it again takes longer than what is computed in it."""

_LARGEST, _ALL = 1 << 25, (1 << 31) - 1
"""The most that glibc takes for either."""


def release() -> None:
    """Give back what glibc keeps: each thread that ran a session leaves the memory freed there in a pool of its own."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def share_arena() -> None:
    """Let threads that are started from now on take memory where the first one does, so that what one frees serves all.

    glibc gives each thread a pool of its own otherwise, and a conversion's peak grows by what lies idle in them.
    """
    _tune({_ARENA_MAX: 1, _MMAP_THRESHOLD: _LARGE, _TRIM_THRESHOLD: _KEPT})


@contextmanager
def holding() -> Iterator[None]:
    """Freed memory stays at hand meanwhile, for what takes the same again and again, as each step of learning does.

    Fetched from the system each time, it takes a third as long as all that is computed in it.
    """
    _tune({_MMAP_THRESHOLD: _LARGEST, _TRIM_THRESHOLD: _ALL})
    try:
        yield
    finally:
        _tune({_MMAP_THRESHOLD: _LARGE, _TRIM_THRESHOLD: _KEPT})
        release()


def _tune(settings: Mapping[int, int]) -> None:
    if sys.platform == "linux":
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            for name, amount in settings.items():
                tune(name, amount)
