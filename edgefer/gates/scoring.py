"""From what a model says of each image to what a metric is the statistic of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgefer.evaluation.drift import NEIGHBOURS, same_neighbour
from edgefer.evaluation.drops import MANY_CLASSES
from edgefer.evaluation.heads import chooses_class, decides, thresholds
from edgefer.evaluation.metrics import (
    Array,
    Bools,
    Floats,
    concordance_of_moments,
    cosine_similarity,
    macro_f1_of_counts,
    mean_where,
    moments,
    positive_f1,
)
from edgefer.evaluation.results import REFERENCE
from edgefer.evaluation.scores import unit_hits
from edgefer.evaluation.statistics import Statistic, mean
from edgefer.spec import OutputSpec

TARGETS = "targets"


@dataclass(frozen=True, eq=False)
class Score:
    """What a metric is the statistic of.

    Attributes:
        metric: its name.
        features: (images, features).
        statistic: of their means.
        scale: 100 where the statistic is a share.
        label: the class, where it is about one.
        known: which images (bool, of all) they are of; None where they are of all.
        least: what the statistic is at least; at most it is 1.
    """

    metric: str
    features: Floats
    statistic: Statistic = mean
    scale: float = 100
    label: str = ""
    known: Bools | None = None
    least: float = 0.0


def metrics_of(head: OutputSpec) -> frozenset[str]:
    """Which metrics `scores` may have of a head."""
    if chooses_class(head):
        return frozenset({"agreement", "accuracy", "accuracy_drop", "recall", "macro_f1"})
    if decides(head):
        return frozenset({"agreement", "f1"})
    return frozenset({"cosine_similarity", "neighbour_agreement"} if head.kind == "embedding" else {"ccc"})


def scores(head: OutputSpec, answers: Mapping[str, Array], format: str) -> Iterator[Score]:
    """Every metric that a head of a format has on images.

    Args:
        head: what its columns mean.
        answers: by model: classes (images,), for heads that choose one, else values (images, columns); `targets`
            where the images have any.
        format: whose metrics.
    """
    found, reference, targets = answers[format], answers[REFERENCE], answers.get(TARGETS)
    if chooses_class(head):
        yield Score("agreement", _column(found == reference))
        if targets is not None and (targets >= 0).any():
            yield from _of_classes(head, found, reference, targets)
    elif decides(head):
        limits = thresholds(head)
        yield Score("agreement", _column(((found >= limits) == (reference >= limits)).mean(axis=1)))
        if targets is not None:
            yield _f1(head, found, targets)
    elif head.kind == "embedding":
        yield Score("cosine_similarity", _column(cosine_similarity(reference, found)), scale=1, least=-1)
        if len(found) > NEIGHBOURS:
            yield Score("neighbour_agreement", _column(same_neighbour(reference, found)))
    elif targets is not None:
        yield from _ccc(found, targets)


def _of_classes(head: OutputSpec, found: Array, reference: Array, targets: Array) -> Iterator[Score]:
    known, right = targets >= 0, _column(found == targets)
    yield Score("accuracy", right[known], known=known)
    yield Score("accuracy_drop", (_column(reference == targets) - right)[known], known=known, least=-1)
    for index, label in enumerate(head.labels):
        if (is_class := targets == index).any():
            yield Score("recall", right[is_class], label=label, known=is_class)
    if len(head.labels) <= MANY_CLASSES:
        one = np.eye(len(head.labels))
        features = np.concatenate([one[targets], one[found], one[found] * one[targets]], axis=1)[known]
        yield Score("macro_f1", features, _parts(3, lambda parts: macro_f1_of_counts(*parts)), 1, known=known)


def _f1(head: OutputSpec, found: Array, targets: Array) -> Score:
    def statistic(parts: Floats) -> Floats:
        f1 = positive_f1(*parts)
        return mean_where(f1, np.isfinite(f1))

    hits = unit_hits(head, found, targets).reshape(len(found), -1).astype(np.float64)
    return Score("f1", hits, _parts(3, statistic), 1)


def _ccc(found: Array, targets: Array) -> Iterator[Score]:
    """Mean over the columns, on the images that have the targets of all, as an evaluation's `mean_ccc`."""
    known = np.asarray(~np.isnan(targets).any(axis=1))
    if not known.any():
        return
    pairs = zip(targets[known].T, found[known].T, strict=True)
    features = np.concatenate([moments(target, values) for target, values in pairs], axis=1)

    def statistic(means: Floats) -> Floats:
        ccc: Floats = concordance_of_moments(means.reshape(*means.shape[:-1], -1, 5)).mean(axis=-1)
        return ccc

    yield Score("ccc", features, statistic, 1, known=known, least=-1)


def _parts(count: int, statistic: Callable[[Floats], Floats]) -> Statistic:
    """A statistic of so many equal parts of the features, along the first axis."""
    return lambda means: statistic(np.moveaxis(means.reshape(*means.shape[:-1], count, -1), -2, 0))


def _column(values: Array) -> Floats:
    return values.astype(np.float64)[:, np.newaxis]
