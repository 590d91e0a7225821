"""One model against the targets."""

from __future__ import annotations

import numpy as np

from edgefer.evaluation.head_metrics import (
    Bin,
    ClassMetrics,
    ModelMetrics,
    Reliability,
    Smile,
    SoftMetrics,
    UnitMetrics,
    ValueMetrics,
)
from edgefer.evaluation.heads import THRESHOLD, chooses_class, decides, happy_column, matrix, number, thresholds
from edgefer.evaluation.metrics import (
    Floats,
    Ints,
    concordance,
    confusion,
    cross_entropy,
    entropy,
    expected_calibration_error,
    macro_f1,
    positive_f1,
    recall_at,
    recall_per_class,
    reliability,
    roc_auc,
)
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

FALSE_POSITIVE_RATE = 0.05
"""Of images without a smile so many may be taken for one, where models are compared at the same rate."""


def score(head: OutputSpec, values: Floats, targets: HeadTargets) -> ModelMetrics:
    """Metrics of a head's `values` (images, columns); probabilities, where the head chooses a class."""
    if chooses_class(head):
        return _of_classes(head, values, targets)
    if targets.values is None:
        return ModelMetrics()
    if decides(head):
        return ModelMetrics(units=_of_units(head, values, targets.values))
    return ModelMetrics(values=_of_values(head, values, targets.values))


def _of_classes(head: OutputSpec, p: Floats, targets: HeadTargets) -> ModelMetrics:
    classes = soft = None
    if targets.classes is not None and (chosen := targets.classes >= 0).any():
        classes = _class_metrics(head, p[chosen], targets.classes[chosen])
    if targets.votes is not None and targets.majority is not None and (~np.isnan(targets.votes[:, 0])).any():
        soft = _soft_metrics(p, targets.votes, targets.majority)
    return ModelMetrics(classes=classes, soft=soft)


def _class_metrics(head: OutputSpec, p: Floats, labels: Ints) -> ClassMetrics:
    counts = confusion(labels, p.argmax(axis=1), len(head.labels))
    binned = reliability(p, labels)
    edges = np.linspace(0, 1, len(binned[0]) + 1)
    bins = tuple(
        Bin(float(low), float(high), int(count), number(confidence), number(accuracy))
        for low, high, count, confidence, accuracy in zip(edges[:-1], edges[1:], *binned, strict=True)
    )
    return ClassMetrics(
        accuracy=float(np.trace(counts) / counts.sum()),
        macro_f1=float(macro_f1(counts)),
        recall_per_class=dict(zip(head.labels, map(number, recall_per_class(counts)), strict=True)),
        confusion=matrix(counts),
        cross_entropy=float(cross_entropy(np.eye(len(head.labels))[labels], p).mean()),
        reliability=Reliability(expected_calibration_error(*binned), bins),
        smile=_smile(head, p, labels),
    )


def _smile(head: OutputSpec, p: Floats, labels: Ints) -> Smile | None:
    happy = happy_column(head)
    if happy is None:
        return None
    scores, is_happy = p[:, happy], labels == happy
    threshold = head.thresholds[happy] if head.thresholds else THRESHOLD
    found = scores >= threshold
    recall, fixed = recall_at(scores, is_happy, FALSE_POSITIVE_RATE)
    return Smile(
        threshold,
        number(found[is_happy].mean() if is_happy.any() else np.nan),
        number(found[~is_happy].mean() if (~is_happy).any() else np.nan),
        number(roc_auc(scores, is_happy)),
        FALSE_POSITIVE_RATE,
        number(fixed),
        number(recall),
    )


def _soft_metrics(p: Floats, votes: Floats, majority: Ints) -> SoftMetrics:
    voted, decided = ~np.isnan(votes[:, 0]), majority >= 0
    surprise = cross_entropy(votes[voted], p[voted])
    right = p[decided].argmax(axis=1) == majority[decided]
    return SoftMetrics(
        int(voted.sum()),
        float(surprise.mean()),
        float((surprise - entropy(votes[voted])).mean()),
        int(decided.sum()),
        float(right.mean()) if decided.any() else None,
    )


def _of_values(head: OutputSpec, values: Floats, targets: Floats) -> ValueMetrics:
    samples, ccc, rmse = {}, {}, {}
    for label, found, target in zip(head.labels, values.T, targets.T, strict=True):
        known = ~np.isnan(target)
        samples[label] = int(known.sum())
        ccc[label] = number(concordance(target[known], found[known])) if known.any() else None
        rmse[label] = float(np.sqrt(np.mean((target - found)[known] ** 2))) if known.any() else None
    return ValueMetrics(samples, ccc, rmse)


def _of_units(head: OutputSpec, p: Floats, targets: Floats) -> UnitMetrics:
    samples = (~np.isnan(targets)).sum(axis=0)
    right, wrong, missed = unit_hits(head, p, targets).sum(axis=0)
    f1 = np.where(right + missed > 0, positive_f1(right, wrong, missed), np.nan)
    return UnitMetrics(
        dict(zip(head.labels, map(int, samples), strict=True)),
        dict(zip(head.labels, map(number, f1), strict=True)),
        dict(zip(head.labels, map(float, thresholds(head)), strict=True)),
    )


def unit_hits(head: OutputSpec, p: Floats, targets: Floats) -> Ints:
    """True positives, false positives and false negatives of each image, 0 or 1, (images, 3, units)."""
    known, found, is_active = ~np.isnan(targets), p >= thresholds(head), targets >= THRESHOLD
    hits = [found & is_active & known, found & ~is_active & known, ~found & is_active & known]
    return np.stack(hits, axis=1).astype(np.int64)
