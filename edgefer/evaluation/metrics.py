"""The metrics, each in its textbook definition, on plain arrays.

Where a metric is undefined (no positive image, no variance) it is NaN.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.spec import HeadActivation

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

GALLERY = 5000
"""Among so many images at most a neighbour is looked for."""

_AT_ONCE = 500
_SMALLEST = float(np.finfo(np.float32).tiny)


def confusion(expected: Ints, found: Ints, classes: int) -> Ints:
    """Counts (classes, classes): rows are what is expected, columns what is found."""
    counts = np.bincount(expected * classes + found, minlength=classes * classes)
    return counts.astype(np.int64).reshape(classes, classes)


def recall_per_class(confusion: Array) -> Floats:
    """Share of each row on the diagonal, (..., classes); NaN for classes without images."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def macro_f1(confusion: Array) -> Floats:
    """Mean F1 of the classes that have images, over the leading axes of (..., classes, classes)."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return macro_f1_of_counts(confusion.sum(axis=-1), confusion.sum(axis=-2), right)


def macro_f1_of_counts(images: Array, found: Array, right: Array) -> Floats:
    """The same from each class's images, how often it is found, and how often rightly, (..., classes)."""
    return mean_where(_ratio(2 * right, images + found), images > 0)


def positive_f1(true_positive: Array, false_positive: Array, false_negative: Array) -> Floats:
    """F1 of the positive class; NaN where nothing is positive, neither expected nor found."""
    return _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative)


def concordance(x: Floats, y: Floats) -> float:
    """Concordance correlation coefficient 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2), all with ddof 0."""
    return float(concordance_of_moments(moments(x, y).mean(axis=0)))


def moments(x: Floats, y: Floats) -> Floats:
    """What `concordance_of_moments` needs the means of, (samples, 5).

    Both are shifted by the same amount, which changes no concordance, so that squares lose no digits.
    """
    centre = (np.mean(x, dtype=np.float64) + np.mean(y, dtype=np.float64)) / 2
    x, y = x.astype(np.float64) - centre, y.astype(np.float64) - centre
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def concordance_of_moments(means: Floats) -> Floats:
    """Concordance from the means of x, y, x^2, y^2 and xy along the last axis."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = (xx - x * x) + (yy - y * y) + (x - y) ** 2
    return _ratio(2 * (xy - x * y), np.where(spread > 1e-12 * (xx + yy), spread, 0))


def cross_entropy(targets: Floats, probabilities: Floats) -> Floats:
    """-sum(targets * log p) per image, in nats."""
    nats: Floats = -np.sum(targets * _log(probabilities), axis=1)
    return nats


def entropy(targets: Floats) -> Floats:
    """-sum(t log t) per image, in nats."""
    return cross_entropy(targets, targets)


def kl_divergence(reference: Floats, other: Floats) -> Floats:
    """KL(reference || other) per image of (images, classes) probabilities, in nats."""
    p = reference.astype(np.float64)
    return _at_least_zero(np.sum(p * (_log(p) - _log(other)), axis=1))


def bernoulli_kl(reference: Floats, other: Floats) -> Floats:
    """KL(reference || other) per image of independent probabilities, summed over them, in nats."""
    p, q = reference.astype(np.float64), other.astype(np.float64)
    on, off = p * (_log(p) - _log(q)), (1 - p) * (_log(1 - p) - _log(1 - q))
    return _at_least_zero(np.sum(on + off, axis=1))


def before_activation(values: Floats, activation: HeadActivation) -> Floats:
    """What a head was before its activation, as far as its values tell.

    Softmax: log p less its mean over the classes, which is the logits less theirs.  Sigmoid: log p - log(1 - p).
    Tanh: artanh.  Probabilities that float32 rounds to 0 or 1 count as the next number that it does not.
    """
    v: Floats = values.astype(np.float64)
    if activation == "softmax":
        v = _log(v)
        v -= v.mean(axis=1, keepdims=True)
    edge = float(np.finfo(np.float32).epsneg)
    if activation == "sigmoid":
        v = _log(v) - _log(1 - np.minimum(v, 1 - edge))
    if activation == "tanh":
        v = np.arctanh(np.clip(v, edge - 1, 1 - edge))
    return v


def sqnr_db(reference: Floats, other: Floats) -> float:
    """Signal-to-quantization-noise ratio 10 log10(sum reference^2 / sum (reference - other)^2); inf when equal."""
    return decibels(
        float(np.sum(np.square(reference, dtype=np.float64))),
        float(np.sum(np.square(reference - other, dtype=np.float64))),
    )


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); inf without noise, -inf with noise alone."""
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def reliability(probabilities: Floats, labels: Ints, bins: int = 15) -> tuple[Ints, Floats, Floats]:
    """Count, mean confidence and accuracy of images in equal bins (low, high] of confidence."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins).astype(np.int64)
    right = probabilities.argmax(axis=1) == labels
    return (
        counts,
        _ratio(np.bincount(index, confidence, bins), counts),
        _ratio(np.bincount(index, right, bins), counts),
    )


def expected_calibration_error(counts: Ints, confidence: Floats, accuracy: Floats) -> float:
    """Mean distance of confidence from accuracy, bins weighted by their images."""
    filled = counts > 0
    return float(np.sum(counts[filled] * np.abs(confidence - accuracy)[filled]) / counts.sum())


def roc_auc(scores: Floats, positive: Bools) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN where one kind is missing."""
    positives = int(positive.sum())
    pairs = positives * (len(scores) - positives)
    if not pairs:
        return float("nan")
    return float((midranks(scores)[positive].sum() - positives * (positives + 1) / 2) / pairs)


def recall_at(scores: Floats, positive: Bools, rate: float) -> tuple[float, float]:
    """Recall with the lowest threshold that finds at most this share of the negatives, and that threshold.

    Equal scores are found together.  NaN where one kind is missing; where even the highest score is a negative's and
    one is too many, nothing is found, from infinity on.
    """
    if positive.all() or not positive.any():
        return float("nan"), float("nan")
    found, right, lowest = _ranked(scores, positive)
    allowed = np.flatnonzero(found - right <= rate * (~positive).sum())
    if not allowed.size:
        return 0.0, float("inf")
    return float(right[allowed[-1]] / positive.sum()), float(lowest[allowed[-1]])


def best_f1_threshold(scores: Floats, positive: Bools) -> float:
    """From which score on F1 of the positive class is largest: halfway to the next lower one; NaN without positives.

    Where float32 has no number halfway, it is the score itself.
    """
    if not positive.any():
        return float("nan")
    found, right, lowest = _ranked(scores, positive)
    best = int((2 * right / (found + positive.sum())).argmax())
    ends = lowest[best : best + 2]
    halfway = float(ends.mean(dtype=np.float64))
    return halfway if np.float32(halfway) > ends[-1] else float(ends[0])


def _ranked(scores: Floats, positive: Bools) -> tuple[Ints, Ints, Floats]:
    """For each different score from the highest on: how many reach it, how many of those are positive, and itself."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    right = np.cumsum(positive[order], dtype=np.int64)
    return ends + 1, right[ends], scores[order][ends]


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation, ties sharing their mean rank; NaN without variance."""
    a, b = (ranks - ranks.mean() for ranks in (midranks(x), midranks(y)))
    spread = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / spread if spread else float("nan")


def midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: Floats = last - (counts - 1) / 2
    return mean_rank[inverse.reshape(-1)]


def cosine_similarity(x: Floats, y: Floats) -> Floats:
    """X · y / (|x| |y|) of each row of two (images, columns); 0 where one of them is zero."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    return np.nan_to_num(_ratio(np.sum(a * b, axis=1), np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def nearest(embeddings: Floats) -> Ints:
    """For each row of (images, columns), the index of the other row that is most similar to it by cosine.

    Of more than `GALLERY` rows, neighbours are looked for among so many of them, spread evenly.
    """
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, _SMALLEST)
    gallery = np.unique(np.linspace(0, len(unit) - 1, min(GALLERY, len(unit))).round().astype(np.int64))
    found = np.empty(len(unit), np.int64)
    for start in range(0, len(unit), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(unit)))
        similarity = unit[rows] @ unit[gallery].T
        similarity[rows[:, np.newaxis] == gallery] = -np.inf
        found[rows] = gallery[similarity.argmax(axis=1)]
    return found


def mean_where(values: Array, chosen: Bools) -> Floats:
    """Mean of the chosen values along the last axis, NaN where none is."""
    return _ratio(np.where(chosen, values, 0).sum(axis=-1), chosen.sum(axis=-1))


def _log(values: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(values.astype(np.float64), _SMALLEST))
    return logs


def _at_least_zero(divergence: Floats) -> Floats:
    """A divergence without the rounding that took it below its minimum."""
    clipped: Floats = np.maximum(divergence, 0.0)
    return clipped


def _ratio(numerator: Array, denominator: Array) -> Floats:
    """Quotient in float64, NaN where the denominator is zero."""
    quotient = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) != 0)
    return quotient
