"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # M_ARENA_MAX and the like of malloc.h
_LARGE = 1 << 20
"""Bytes from which memory goes back to the system as soon as it is freed;"""

_KEPT = 1 << 24
"""of smaller memory, so much stays at hand: to fetch it again takes longer than what is computed in it."""


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
    if sys.platform == "linux":
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            tune(_ARENA_MAX, 1)
            tune(_MMAP_THRESHOLD, _LARGE)
            tune(_TRIM_THRESHOLD, _KEPT)
