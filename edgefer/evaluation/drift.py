"""One model against another on the same images, every difference paired."""

from __future__ import annotations

import numpy as np

from edgefer.evaluation.drops import ccc_loss, estimate, estimated, f1_loss, macro_f1_loss, of_known
from edgefer.evaluation.head_metrics import Drop, Estimate
from edgefer.evaluation.heads import chooses_class, decides, happy_column, matrix, number, thresholds
from edgefer.evaluation.metrics import (
    Bools,
    Floats,
    Ints,
    before_activation,
    bernoulli_kl,
    confusion,
    cosine_similarity,
    kl_divergence,
    nearest,
    recall_at,
    spearman,
    sqnr_db,
)
from edgefer.evaluation.results import CrossRuntime, Drift
from edgefer.evaluation.scores import FALSE_POSITIVE_RATE
from edgefer.evaluation.statistics import bootstrap, discordant, paired_test
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

ROUNDING = 1e-6
"""Two float32 implementations of an activation may differ by so much on equal integers."""

NEIGHBOURS = 2
"""Of so many images each has the other for its neighbour, whatever a network says of them."""


def drift(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Drift:
    """What a head's outputs (images, columns) of an artifact are against the reference's."""
    change = np.abs(artifact.astype(np.float64) - reference)
    logits = [
        before_activation(values, "softmax" if chooses_class(head) else head.activation)
        for values in (reference, artifact)
    ]
    drawn = targets.sequences
    common = (float(change.max()), float(change.mean()), number(sqnr_db(*logits)))
    if chooses_class(head):
        return _class_drift(head, reference, artifact, targets, common)
    if decides(head):
        same, kl = _same(head, reference, artifact), bernoulli_kl(reference, artifact)
        return Drift(
            *common,
            estimate(same, sequences=drawn),
            kl=estimate(kl, sequences=drawn),
            f1_drop=estimated(f1_loss(head, reference, artifact, targets)),
        )
    if head.kind == "embedding":
        return Drift(
            *common,
            cosine_similarity=estimate(cosine_similarity(reference, artifact), sequences=drawn),
            neighbour_agreement=estimate(same_neighbour(reference, artifact), sequences=drawn)
            if len(reference) > NEIGHBOURS
            else None,
        )
    return Drift(*common, ccc_drop=estimated(ccc_loss(head, reference, artifact, targets)))


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
        agreement=estimate(before == after, sequences=targets.sequences),
        flips=matrix(flips),
        kl=estimate(kl_divergence(reference, artifact), sequences=targets.sequences),
        smile_rank_correlation=None if happy is None else number(spearman(reference[:, happy], artifact[:, happy])),
        accuracy_drop=_drop(before, after, targets.classes, targets.sequences),
        majority_accuracy_drop=_drop(before, after, targets.majority, targets.sequences),
        macro_f1_drop=estimated(macro_f1_loss(head, reference, artifact, targets)),
        smile_recall_drop=_smile_recall_drop(head, reference, artifact, targets),
    )


def _drop(before: Ints, after: Ints, labels: Ints | None, sequences: Ints | None) -> Drop | None:
    if labels is None or not (chosen := labels >= 0).any():
        return None
    was_right, is_right = (before == labels)[chosen], (after == labels)[chosen]
    lost, gained = discordant(was_right, is_right)
    groups = of_known(sequences, chosen)
    interval = bootstrap(100.0 * was_right - 100.0 * is_right, groups=groups)
    return Drop(
        100 * (lost - gained) / len(was_right), interval, paired_test(was_right, is_right, groups), lost, gained
    )


def _smile_recall_drop(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Estimate | None:
    """Over the happy images, at the threshold of each model, which is taken as it is."""
    happy, labels = happy_column(head), targets.classes
    if happy is None or labels is None:
        return None
    known, is_happy = labels >= 0, labels == happy
    found = [
        values[is_happy, happy] >= recall_at(values[known, happy], is_happy[known], FALSE_POSITIVE_RATE)[1]
        for values in (reference, artifact)
    ]
    is_defined = is_happy.any() and (known & ~is_happy).any()
    sequences = of_known(targets.sequences, is_happy)
    return estimate(found[0].astype(np.float64) - found[1], sequences=sequences) if is_defined else None


def cross_runtime(head: OutputSpec, first: Floats, second: Floats) -> CrossRuntime:
    """What a head's outputs (images, columns) of the two artifacts are against each other."""
    difference = np.abs(first.astype(np.float64) - second)
    answers = chooses_class(head) or decides(head)
    agreement = estimate(_same(head, first, second)) if answers else None
    return CrossRuntime(agreement, float(difference.max()), float((difference <= ROUNDING).all(axis=1).mean()))


def _same(head: OutputSpec, first: Floats, second: Floats) -> Floats:
    """Per image, whether the answer is the same; for decisions, the share of those that are."""
    if chooses_class(head):
        same: Floats = (first.argmax(axis=1) == second.argmax(axis=1)).astype(np.float64)
    else:
        same = ((first >= thresholds(head)) == (second >= thresholds(head))).mean(axis=1)
    return same
