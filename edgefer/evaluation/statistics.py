"""Paired statistics: exact tests of no difference, and bootstrap intervals, over images or sequences of them.

Every statistic here is a function of means over images: of hits, of confusion cells, of moments.  Where images
come in few kinds (right or wrong, a cell of a matrix), how often each kind is drawn is multinomial, and resampling
costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, exp, lgamma, log, log1p, sqrt
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from edgefer.evaluation.metrics import Bools, Floats, Ints

Statistic: TypeAlias = Callable[[Floats], Floats]
"""From means (..., features) to numbers (...)."""

RESAMPLES = 2000
SEED = 0
_DRAWN_AT_ONCE = 1 << 20
_FEW_KINDS = 200
_NORMAL = 100_000  # so many images that means over them are normal, as far as an interval can tell
_MOST_STEPS = 100_000_000


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of the hypothesis that each of two models is as often right where only one is.

    It is the binomial probability, at 1/2, of a split at least as uneven: 1 where both are always right together.
    """
    discordant = only_first + only_second
    term = total = 1
    for k in range(min(only_first, only_second)):
        term = term * (discordant - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / (1 << discordant))


def paired_test(first: Bools, second: Bools, groups: Ints | None = None) -> float:
    """Exact two-sided p-value of the hypothesis that two models are as often right.

    Frames of a sequence are alike, and no sample of independent images; but without a difference either model might
    as well be the other in a whole sequence.  Fisher's randomisation test tosses that for each, which is McNemar's test
    where each image is by itself; of very many sequences the sum is taken to be normal.

    Args:
        first: (images,) whether it is right.
        second: likewise.
        groups: for each image a number, the same for those of one sequence; None where each is by itself.
    """
    if groups is None:
        return mcnemar(*discordant(first, second))
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, first.astype(np.float64) - second).astype(np.int64)
    found, sizes = abs(int(sums.sum())), np.abs(sums[sums != 0])
    largest = int(sizes.sum())
    if largest == 0:
        return 1.0
    if len(sizes) * largest > _MOST_STEPS:
        return erfc(found / sqrt(2 * float(np.square(sizes, dtype=np.float64).sum())))
    likely = np.ones(1)
    for size in map(int, sizes):
        likely = (np.pad(likely, (0, 2 * size)) + np.pad(likely, (2 * size, 0))) / 2
    reached = np.abs(np.arange(-largest, largest + 1)) >= found
    return min(1.0, float(likely[reached].sum()))


def binomial_upper(count: int, trials: int, level: float = 0.95) -> float:
    """The largest share at which so few of so many would not be unlikely: Clopper and Pearson's one-sided bound.

    Args:
        count: how many.
        trials: of how many.
        level: confidence.
    """
    if count >= trials:
        return 1.0
    ways = [lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) for k in range(count + 1)]
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        at_most = sum(exp(way + k * log(share) + (trials - k) * log1p(-share)) for k, way in enumerate(ways))
        low, high = (share, high) if at_most > 1 - level else (low, share)
    return high


def mean(means: Floats) -> Floats:
    """The statistic that is the mean of the only feature."""
    return means[..., 0]


def bootstrap(
    features: Floats,
    statistic: Statistic = mean,
    *,
    groups: Ints | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """BCa interval of a statistic over images, None where the images do not vary or there is only one.

    Bias-corrected and accelerated (Efron 1987) rather than percentile: agreement lies near 1, where the
    percentile interval is too short on the side that matters; the jackknife that it needs is one more line here.

    Args:
        features: (images, features); an image is drawn with all of its features, so differences are paired.
        statistic: of their means.
        groups: for each image a number, the same for images that are drawn together, as frames of one sequence are,
            which are alike.
        resamples: how many times as many images are drawn with replacement.
        seed: equal seeds give equal intervals.
        level: confidence.
    """
    if groups is not None:
        features, statistic = _of_groups(features.reshape(len(features), -1), groups, statistic)
    count = len(features)
    if count < 2:
        return None
    features = features.reshape(count, -1).astype(np.float64)
    kinds, images = np.unique(features, axis=0, return_counts=True)
    total = images @ kinds
    jackknife = statistic((total - kinds) / (count - 1))
    defined = np.isfinite(jackknife)
    jackknife, weights = jackknife[defined], images[defined]
    if not weights.size or np.ptp(jackknife) < 1e-12:
        return None
    generator = np.random.default_rng(seed)
    if len(kinds) <= _FEW_KINDS:
        drawn = statistic(generator.multinomial(count, images / count, resamples) @ kinds / count)
    else:
        drawn = statistic(_resampled_means(features, resamples, generator))
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return None
    found = float(statistic(total / count))
    below = float(np.mean((drawn < found).astype(float) + (drawn <= found))) / 2
    influence = np.average(jackknife, weights=weights) - jackknife
    acceleration = float(weights @ influence**3) / (6 * float(weights @ influence**2) ** 1.5)
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    shifted = [bias + normal.inv_cdf(tail) for tail in ((1 - level) / 2, (1 + level) / 2)]
    low, high = np.quantile(drawn, [normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted])
    return (float(low), float(high))


def _of_groups(features: Floats, groups: Ints, statistic: Statistic) -> tuple[Floats, Statistic]:
    """Sums over each group beside its size, and the statistic of the means that they give over images."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((int(group.max(initial=-1)) + 1, features.shape[1] + 1))
    np.add.at(sums, group, np.concatenate([features.astype(np.float64), np.ones((len(features), 1))], axis=1))
    return sums, lambda means: statistic(means[..., :-1] / means[..., -1:])


def discordant(first: Bools, second: Bools) -> tuple[int, int]:
    """How often only the first, and only the second, is true."""
    return int(np.sum(first & ~second)), int(np.sum(second & ~first))


def _resampled_means(features: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Means (resamples, features) of images drawn with replacement, in bounded memory.

    Of very many images the means are drawn instead: by the central limit theorem they are normal, with the covariance
    of the features divided by the number of images.
    """
    count = len(features)
    if count >= _NORMAL:
        covariance = np.cov(features, rowvar=False, bias=True).reshape(features.shape[1], -1) / count
        return generator.multivariate_normal(features.mean(axis=0), covariance, resamples, method="eigh")
    rows = max(_DRAWN_AT_ONCE // count, 1)
    means = np.empty((resamples, features.shape[1]))
    for start in range(0, resamples, rows):
        chosen = generator.integers(0, count, (min(rows, resamples - start), count))
        chosen += count * np.arange(len(chosen))[:, np.newaxis]
        drawn = np.bincount(chosen.reshape(-1), minlength=chosen.size).reshape(chosen.shape)
        means[start : start + rows] = drawn @ features / count
    return means
