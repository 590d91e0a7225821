"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys


def release() -> None:
    """Give back what glibc keeps: each thread that ran a session leaves the memory freed there in a pool of its own."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
