"""A histogram whose range need not be known in advance, in memory that does not grow.

Bins are 2**k wide and aligned at zero.  When a value falls outside, neighbouring bins merge and k grows by
one, which is exact: the final histogram depends only on the values counted, not on the order they came in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import frexp, gcd, isfinite
from threading import Lock

import numpy as np
import numpy.typing as npt

HALF = 4096
"""Bins on each side of zero."""

COUNTED = 1 << 12
"""Of an image with more values, about so many from all over it are counted, each as often as stands for the others."""


@dataclass
class Histogram:
    """Counts of values in bins of `2**exponent`; bin i holds [(i - HALF) * width, (i + 1 - HALF) * width).

    Several threads may add values at once.

    Attributes:
        minimum: smallest value seen, exactly.
        maximum: largest value seen, exactly.
    """

    exponent: int = -126
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))
    minimum: float = np.inf
    maximum: float = -np.inf
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def add(self, values: npt.NDArray[np.float32], images: int = 1) -> None:
        """Count `values` of any shape, or some of each image's where there are many.

        Args:
            values: of one image, or of several one after the other.
            images: how many.

        Raises:
            ValueError: one is not finite; nothing is counted.
        """
        low, high = float(values.min()), float(values.max())
        if not (isfinite(low) and isfinite(high)):
            raise ValueError("not all values are finite")
        step = _step(values.size // images)
        exponent = max(self.exponent, _exponent_for(max(-low, high)))
        counts = _counts(values.reshape(images, -1)[:, ::step], exponent)
        if step > 1:
            counts *= step
        with self._lock:
            if self.exponent > exponent:  # another thread came before
                added = Histogram(exponent, counts)
                added._widen(self.exponent)
                counts = added.counts
            self._widen(exponent)
            self.counts += counts
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of both sets of values."""
        wide, narrow = (self, other) if self.exponent >= other.exponent else (other, self)
        both = Histogram(narrow.exponent, narrow.counts.copy())
        both._widen(wide.exponent)
        both.counts += wide.counts
        both.minimum, both.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        return both

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Centres of the bins that hold values, within the range seen, and the share of values in each."""
        filled = np.flatnonzero(self.counts)
        centres = np.clip((filled - HALF + 0.5) * 2.0**self.exponent, self.minimum, self.maximum)
        return centres, self.counts[filled] / self.counts.sum()

    def _widen(self, exponent: int) -> None:
        while self.exponent < exponent:
            if exponent - self.exponent > 1 and not self.counts.any():
                self.exponent = exponent
                return
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros_like(self.counts)
            self.counts[HALF // 2 : HALF // 2 + HALF] = pairs
            self.exponent += 1


def _counts(values: npt.NDArray[np.float32], exponent: int) -> npt.NDArray[np.int64]:
    """How many values are in each bin of 2**exponent; the bins hold all of them."""
    dtype = (
        np.float32 if exponent <= 0 else np.float64
    )  # float32 is exact unless large bins make small values underflow
    scaled = np.multiply(values, dtype(2.0**-exponent), dtype=dtype)
    bins = np.floor(scaled, out=scaled).astype(np.intp).reshape(-1)
    bins += HALF
    return np.bincount(bins, minlength=2 * HALF)


def _exponent_for(magnitude: float) -> int:
    """Smallest k such that `magnitude` lies strictly inside HALF bins of 2**k."""
    return frexp(magnitude / HALF)[1] if magnitude > 0 else -126


def _step(size: int) -> int:
    """Every so many values are counted: no divisor of any axis, so that all rows, columns and channels have some."""
    step = -(-size // COUNTED)
    while gcd(step, size) > 1:
        step += 1
    return step
