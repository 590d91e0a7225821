"""What was measured, with how far chance may have taken it: exact numbers, scores of images, times of frames.

Each measurement knows its own value and its change from a baseline's, as intervals whose tails the caller chooses:
a small tail where a false alarm would cost, an ordinary one elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, log
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from edgefer.evaluation.metrics import Floats, Ints
from edgefer.evaluation.statistics import Statistic, bootstrap, mean, paired_test

RESAMPLES = 4000
FEWEST_IMAGES = 30
"""Below this a bootstrap of anything but counts says nothing."""
DRIFT = 0.03
"""Standard deviation that the log of a time has between runs of the same code, as long as too few runs tell."""
DRIFT_WEIGHT = 4
"""For so many degrees of freedom that assumption stands."""

Tails: TypeAlias = tuple[float, float]
"""Probability that the true value lies below and above the interval."""


@dataclass(frozen=True)
class Interval:
    """A number and where the true one may lie."""

    found: float
    low: float
    high: float


@runtime_checkable
class Measurement(Protocol):
    """One number of one artifact, comparable with others of its class and context."""

    @property
    def context(self) -> str:
        """What it was measured on."""
        ...

    @property
    def is_estimate(self) -> bool:
        """Whether chance has a part in it."""
        ...

    @property
    def is_paired(self) -> bool:
        """Whether changes are told case by case, so that no change at all can be excluded sharply."""
        ...

    def level(self, tails: Tails) -> Interval:
        """The number itself."""
        ...

    def change(self, baseline: Any, tails: Tails, *, relative: bool) -> Interval:
        """The number less the baseline's, as a share of it where `relative`."""
        ...


@dataclass(frozen=True)
class Exact:
    """Counted: bytes, instructions, nodes."""

    value: float
    context: str = ""
    is_estimate = False
    is_paired = False

    def level(self, tails: Tails) -> Interval:
        """The number itself."""
        return Interval(self.value, self.value, self.value)

    def change(self, baseline: Exact, tails: Tails, *, relative: bool) -> Interval:
        """The number less the baseline's."""
        change = self.value - baseline.value
        if relative and change:
            change = change / baseline.value if baseline.value else float("inf")
        return Interval(change, change, change)


@dataclass(frozen=True, eq=False)
class Scored:
    """A statistic over images.

    Attributes:
        features: (images, features).
        statistic: of their means.
        scale: 100 where the statistic is a share and the number is percent.
        artifact: hash of what was run: equal artifacts differ in nothing.
        context: the images.
        groups: for each image a number, the same for those of one sequence; None where each is by itself.
        least: what the statistic is at least; at most it is 1.
    """

    features: Floats
    statistic: Statistic
    scale: float
    artifact: str
    context: str
    groups: Ints | None = None
    least: float = 0.0
    is_estimate = True
    is_paired = True

    def level(self, tails: Tails) -> Interval:
        """Bootstrap over images, or sequences of them; what is known ends where the statistic does."""
        interval = self._interval(self.features, self.statistic, tails)
        if not isfinite(interval.low):
            return interval
        low, high = max(interval.low, self.scale * self.least), min(interval.high, self.scale)
        return Interval(interval.found, min(interval.found, low), max(interval.found, high))

    def change(self, baseline: Scored, tails: Tails, *, relative: bool) -> Interval:
        """Paired bootstrap over images; right and wrong answers differ only where an exact paired test says so."""
        if self.artifact == baseline.artifact:
            return Interval(0.0, 0.0, 0.0)
        if _are_hits(self.features, (0, 1)) and _are_hits(baseline.features, (0, 1)):
            found = self._interval(self.features - baseline.features, mean, tails)
            p = paired_test(self.features[:, 0] > 0, baseline.features[:, 0] > 0, self.groups)
            return Interval(
                found.found,
                min(found.low, 0.0) if p > 2 * tails[0] else found.low,
                max(found.high, 0.0) if p > 2 * tails[1] else found.high,
            )
        own = self.features.shape[1]

        def difference(means: Floats) -> Floats:
            change: Floats = self.statistic(means[..., :own]) - baseline.statistic(means[..., own:])
            return change

        return self._interval(np.concatenate([self.features, baseline.features], axis=1), difference, tails)

    def _interval(self, features: Floats, statistic: Statistic, tails: Tails) -> Interval:
        """BCa bootstrap; where nothing varies, what as many images, or sequences, cannot exclude.

        An event that n images do not show has, with confidence 1 - t, a probability of at most -log(t) / n: the rule
        of three (Hanley and Lippman-Hand 1983).
        """
        count = len(features) if self.groups is None else len(np.unique(self.groups))
        found = self.scale * float(statistic(features.mean(axis=0)))
        if not _are_hits(features) and count < FEWEST_IMAGES:
            return Interval(found, -np.inf, np.inf)
        low, high = (
            bootstrap(features, statistic, groups=self.groups, resamples=RESAMPLES, level=1 - 2 * tail)
            for tail in tails
        )
        if low is None or high is None:
            margins = [-self.scale * log(tail) / count for tail in tails]
            return Interval(found, found - margins[0], found + margins[1])
        return Interval(found, min(found, self.scale * low[0]), max(found, self.scale * high[1]))


@dataclass(frozen=True, eq=False)
class Timed:
    """A quantile of the time per frame, in blocks of frames that follow each other.

    Neighbouring frames share clock, caches and whatever else the machine does, so blocks are resampled and not
    frames.  Runs differ by more than their blocks tell, so a drift between runs is added: the spread of the runs'
    medians once there are several, before that the spread of the blocks, and 3 % at least.

    Where something else takes the processor for a whole run, no block tells.  But a network does the same work for
    every frame, and what disturbs it only adds time: slower code is slower in its fastest frame, too.  So a change is
    no worse, for all that is known, than from the baseline to the fastest frame.

    Attributes:
        runs: for each run the quantile of each block, ms.
        context: the processor.
        fastest: frame of all runs, ms; None where that is not known.
    """

    runs: tuple[Floats, ...]
    context: str
    fastest: float | None = None
    is_estimate = True
    is_paired = False

    @property
    def found(self) -> float:
        """Geometric mean of the runs' medians, ms."""
        return float(np.exp(np.mean(self._medians())))

    def level(self, tails: Tails) -> Interval:
        """Bootstrap of the median over blocks, with drift."""
        return _quantiles(self.found, np.exp(self._drawn(_drift(self), 0)), tails)

    def change(self, baseline: Timed, tails: Tails, *, relative: bool) -> Interval:
        """The same, of the difference or ratio of both; it begins no later than what the fastest frame changed."""
        drift = _drift(self, baseline)
        now, before = np.exp(self._drawn(drift, 0)), np.exp(baseline._drawn(drift, 1))
        unit = baseline.found if relative else 1.0
        drawn = now / before - 1 if relative else now - before
        interval = _quantiles((self.found - baseline.found) / unit, drawn, tails)
        if self.fastest is None:
            return interval
        return replace(interval, low=min(interval.low, (self.fastest - baseline.found) / unit))

    def _medians(self) -> Floats:
        return np.array([np.median(np.log(run)) for run in self.runs])

    def _drawn(self, drift: Floats, seed: int) -> Floats:
        """Logs of times that might as well have been measured, (resamples,)."""
        generator = np.random.default_rng(seed)
        medians = [
            np.median(np.log(run)[generator.integers(0, len(run), (RESAMPLES, len(run)))], axis=1) for run in self.runs
        ]
        drawn: Floats = np.mean(medians, axis=0) + drift * generator.normal(size=RESAMPLES) / len(self.runs) ** 0.5
        return drawn


def _drift(*sides: Timed) -> Floats:
    """Standard deviations that the log of a run's time may have, (resamples,).

    The posterior of a variance with a scaled inverse chi-squared prior (Gelman et al., Bayesian Data Analysis, 2.6).
    """
    blocks = float(np.mean([np.var(np.log(run)) for side in sides for run in side.runs]))
    assumed = max(DRIFT**2, blocks)
    deviations = sum(float(np.sum((m - m.mean()) ** 2)) for m in (side._medians() for side in sides))
    freedom = DRIFT_WEIGHT + sum(len(side.runs) - 1 for side in sides)
    squares = DRIFT_WEIGHT * assumed + deviations
    drift: Floats = np.sqrt(squares / np.random.default_rng(2).chisquare(freedom, RESAMPLES))
    return drift


def _quantiles(found: float, drawn: Floats, tails: Tails) -> Interval:
    low, high = np.quantile(drawn, [tails[0], 1 - tails[1]])
    return Interval(found, min(found, float(low)), max(found, float(high)))


def _are_hits(features: Floats, values: Sequence[int] = (-1, 0, 1)) -> bool:
    """Whether it is one column of yes and no, or of differences of such."""
    return features.shape[1] == 1 and bool(np.isin(features, values).all())
