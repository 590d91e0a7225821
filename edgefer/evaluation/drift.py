"""One model against another on the same images, every difference paired."""

from __future__ import annotations

import numpy as np

from edgefer.evaluation.head_metrics import Drop, Estimate
from edgefer.evaluation.heads import chooses_class, decides, happy_column, matrix, number, thresholds
from edgefer.evaluation.metrics import (
    Bools,
    Floats,
    Ints,
    before_activation,
    bernoulli_kl,
    concordance_of_moments,
    confusion,
    cosine_similarity,
    kl_divergence,
    macro_f1_of_counts,
    mean_where,
    moments,
    nearest,
    positive_f1,
    spearman,
    sqnr_db,
)
from edgefer.evaluation.results import CrossRuntime, Drift
from edgefer.evaluation.scores import unit_hits
from edgefer.evaluation.statistics import Statistic, bootstrap, discordant, mcnemar, mean
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

ROUNDING = 1e-6
"""Two float32 implementations of an activation may differ by so much on equal integers."""

NEIGHBOURS = 2
"""Of so many images each has the other for its neighbour, whatever a network says of them."""

_MANY_CLASSES = 64
"""With more, macro-F1 gets no interval: resampling its parts would take memory without bound."""


def drift(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Drift:
    """What a head's outputs (images, columns) of an artifact are against the reference's."""
    change = np.abs(artifact.astype(np.float64) - reference)
    logits = [
        before_activation(values, "softmax" if chooses_class(head) else head.activation)
        for values in (reference, artifact)
    ]
    common = (float(change.max()), float(change.mean()), number(sqnr_db(*logits)))
    if chooses_class(head):
        return _class_drift(head, reference, artifact, targets, common)
    if decides(head):
        same, kl = _same(head, reference, artifact), bernoulli_kl(reference, artifact)
        return Drift(*common, _estimate(same), kl=_estimate(kl), f1_drop=_f1_drop(head, reference, artifact, targets))
    if head.kind == "embedding":
        return Drift(
            *common,
            cosine_similarity=_estimate(cosine_similarity(reference, artifact)),
            neighbour_agreement=_estimate(same_neighbour(reference, artifact)) if len(reference) > NEIGHBOURS else None,
        )
    return Drift(*common, ccc_drop=_ccc_drop(reference, artifact, targets))


def same_neighbour(reference: Floats, artifact: Floats) -> Bools:
    """Per image, whether the image that is most similar to it is the same by both, each compared with its own."""
    same: Bools = nearest(reference) == nearest(artifact)
    return same


def _class_drift(
    head: OutputSpec,
    reference: Floats,
    artifact: Floats,
    targets: HeadTargets,
    common: tuple[float, float, float | None],
) -> Drift:
    before, after = reference.argmax(axis=1), artifact.argmax(axis=1)
    flips = confusion(before, after, len(head.labels))
    np.fill_diagonal(flips, 0)
    happy = happy_column(head)
    return Drift(
        *common,
        agreement=_estimate(before == after),
        flips=matrix(flips),
        kl=_estimate(kl_divergence(reference, artifact)),
        smile_rank_correlation=None if happy is None else number(spearman(reference[:, happy], artifact[:, happy])),
        accuracy_drop=_drop(before, after, targets.classes),
        majority_accuracy_drop=_drop(before, after, targets.majority),
        macro_f1_drop=_macro_f1_drop(before, after, targets.classes, len(head.labels)),
    )


def _drop(before: Ints, after: Ints, labels: Ints | None) -> Drop | None:
    if labels is None or not (chosen := labels >= 0).any():
        return None
    was_right, is_right = (before == labels)[chosen], (after == labels)[chosen]
    lost, gained = discordant(was_right, is_right)
    interval = bootstrap(100.0 * was_right - 100.0 * is_right)
    return Drop(100 * (lost - gained) / len(was_right), interval, mcnemar(lost, gained), lost, gained)


def _macro_f1_drop(before: Ints, after: Ints, labels: Ints | None, classes: int) -> Estimate | None:
    if labels is None or classes > _MANY_CLASSES or not (chosen := labels >= 0).any():
        return None
    one = np.eye(classes)
    label, old, new = one[labels[chosen]], one[before[chosen]], one[after[chosen]]

    def drop(means: Floats) -> Floats:
        images, found, right, found_after, right_after = np.moveaxis(means.reshape(*means.shape[:-1], 5, -1), -2, 0)
        lost: Floats = macro_f1_of_counts(images, found, right) - macro_f1_of_counts(images, found_after, right_after)
        return lost

    return _estimate(np.concatenate([label, old, old * label, new, new * label], axis=1), drop)


def _ccc_drop(reference: Floats, artifact: Floats, targets: HeadTargets) -> Estimate | None:
    """Over the images that have all targets of the columns that have any."""
    if targets.values is None:
        return None
    columns = ~np.isnan(targets.values).all(axis=0)
    known = ~np.isnan(targets.values[:, columns]).any(axis=1)
    if not known.any():
        return None
    pairs = [
        moments(target[known], values[known])
        for target, *models in zip(targets.values.T[columns], reference.T[columns], artifact.T[columns], strict=True)
        for values in models
    ]

    def drop(means: Floats) -> Floats:
        ccc = concordance_of_moments(means.reshape(*means.shape[:-1], -1, 2, 5))
        lost: Floats = (ccc[..., 0] - ccc[..., 1]).mean(axis=-1)
        return lost

    return _estimate(np.concatenate(pairs, axis=1), drop)


def _f1_drop(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Estimate | None:
    if targets.values is None:
        return None
    hits = [unit_hits(head, p, targets.values) for p in (reference, artifact)]

    def drop(means: Floats) -> Floats:
        counts = means.reshape(*means.shape[:-1], 2, 3, -1)
        was, is_now = np.moveaxis(positive_f1(*np.moveaxis(counts, -2, 0)), -2, 0)
        return mean_where(was - is_now, np.isfinite(was - is_now))

    return _estimate(np.stack(hits, axis=1), drop)


def cross_runtime(head: OutputSpec, first: Floats, second: Floats) -> CrossRuntime:
    """What a head's outputs (images, columns) of the two artifacts are against each other."""
    difference = np.abs(first.astype(np.float64) - second)
    answers = chooses_class(head) or decides(head)
    agreement = _estimate(_same(head, first, second)) if answers else None
    return CrossRuntime(agreement, float(difference.max()), float((difference <= ROUNDING).all(axis=1).mean()))


def _same(head: OutputSpec, first: Floats, second: Floats) -> Floats:
    """Per image, whether the answer is the same; for decisions, the share of those that are."""
    if chooses_class(head):
        same: Floats = (first.argmax(axis=1) == second.argmax(axis=1)).astype(np.float64)
    else:
        same = ((first >= thresholds(head)) == (second >= thresholds(head))).mean(axis=1)
    return same


def _estimate(features: Floats | Ints | Bools, statistic: Statistic = mean) -> Estimate | None:
    flat = features.reshape(len(features), -1).astype(np.float64)
    value = number(statistic(flat.mean(axis=0)))
    return None if value is None else Estimate(value, bootstrap(flat, statistic))
