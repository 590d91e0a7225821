"""Statistics of times: percentiles, and how far they could be otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.evaluation.head_metrics import Interval
from edgefer.evaluation.statistics import RESAMPLES, SEED

Times = npt.NDArray[np.float64]

NANOSECONDS = 1e-6
"""In milliseconds."""


@dataclass(frozen=True, eq=False)
class Latency:
    """Times of many frames.

    Attributes:
        samples: (frames,), ms, in the order in which they were taken.
    """

    samples: Times

    @classmethod
    def of_nanoseconds(cls, samples: Sequence[int]) -> Latency:
        """From what the agent returns; resolved to 0.1 microseconds, which is more than clocks give."""
        return cls(np.round(np.asarray(samples, np.float64) * NANOSECONDS, 4))

    @cached_property
    def p50(self) -> float:
        """Half of the frames took no longer, ms."""
        return quantile(self.samples, 0.5)

    @cached_property
    def p90(self) -> float:
        """Nine in ten took no longer, ms."""
        return quantile(self.samples, 0.9)

    @cached_property
    def p99(self) -> float:
        """Ninety-nine in a hundred took no longer, ms."""
        return quantile(self.samples, 0.99)

    @property
    def min(self) -> float:
        """The fastest, ms."""
        return float(self.samples.min())

    @cached_property
    def ci95(self) -> dict[str, Interval]:
        """Of p50 and p90, ms."""
        return {"p50": quantile_interval(self.samples, 0.5), "p90": quantile_interval(self.samples, 0.9)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "samples": self.samples.tolist(),
            "p50": self.p50,
            "p90": self.p90,
            "p99": self.p99,
            "min": self.min,
            "ci95": {name: list(ends) for name, ends in self.ci95.items()},
        }


def quantile(samples: Times, q: float) -> float:
    """The smallest sample that at least a share `q` of all do not exceed."""
    return float(np.quantile(samples, q, method="inverted_cdf"))


def quantile_interval(samples: Times, q: float, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of a quantile.

    No sample need be drawn: the r-th smallest of n draws with replacement is the sample at rank ceil(n B), where B,
    the r-th smallest of n uniform numbers, follows Beta(r, n - r + 1).  It takes frames for independent; that they
    are is what `verdict` looks at.
    """
    n = len(samples)
    r = max(ceil(n * q), 1)
    ranks = np.ceil(n * np.random.default_rng(SEED).beta(r, n - r + 1, RESAMPLES)).astype(int)
    drawn = np.sort(samples)[np.clip(ranks, 1, n) - 1]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
