"""What an artifact loses of a score, where the score is a function of means over images.

Means of both models are taken over the same images, so that the loss has a paired interval; and what several heads
lose together is a function of such means as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgefer.evaluation.head_metrics import Estimate
from edgefer.evaluation.heads import number
from edgefer.evaluation.metrics import (
    Array,
    Bools,
    Floats,
    Ints,
    concordance_of_moments,
    macro_f1_of_counts,
    mean_where,
    moments,
    positive_f1,
)
from edgefer.evaluation.scores import unit_hits
from edgefer.evaluation.statistics import Statistic, bootstrap, mean
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

MANY_CLASSES = 64
"""With more, macro-F1 gets no interval: resampling its parts would take memory without bound."""


@dataclass(frozen=True, eq=False)
class Loss:
    """What is lost of a score.

    Attributes:
        features: (images, features); zero for images without a target.
        of_means: the loss, reference minus artifact, from the means of the features; a common factor changes nothing.
        known: images with a target.
        sequences: a number for each image, the same for those of one sequence; None where each is by itself.
    """

    features: Floats
    of_means: Statistic
    known: Bools
    sequences: Ints | None = None

    def estimate(self) -> Estimate | None:
        """The loss with its interval, over the images that have a target."""
        return estimate(self.features[self.known], self.of_means, of_known(self.sequences, self.known))


def of_known(sequences: Ints | None, known: Bools) -> Ints | None:
    """The sequences of some of the images."""
    return None if sequences is None else sequences[known]


def estimate(features: Array, statistic: Statistic = mean, sequences: Ints | None = None) -> Estimate | None:
    """A statistic of the means of features (images, ...), with its interval; None where it is undefined.

    Images of one sequence, where any are said, are drawn together.
    """
    flat = features.reshape(len(features), -1).astype(np.float64)
    value = number(statistic(flat.mean(axis=0))) if len(flat) else None
    return None if value is None else Estimate(value, bootstrap(flat, statistic, groups=sequences))


def macro_f1_loss(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Loss | None:
    """Of the mean F1 of the classes that have images; None without labels, or for very many classes."""
    labels, classes = targets.classes, len(head.labels)
    if labels is None or classes > MANY_CLASSES or not (known := labels >= 0).any():
        return None
    one = np.eye(classes)
    label, old, new = (one[chosen] for chosen in (labels, reference.argmax(axis=1), artifact.argmax(axis=1)))

    def lost(means: Floats) -> Floats:
        images, found, right, found_after, right_after = np.moveaxis(means.reshape(*means.shape[:-1], 5, -1), -2, 0)
        loss: Floats = macro_f1_of_counts(images, found, right) - macro_f1_of_counts(images, found_after, right_after)
        return loss

    features = np.concatenate([label, old, old * label, new, new * label], axis=1)
    return Loss(features * known[:, np.newaxis], lost, known, targets.sequences)


def ccc_loss(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Loss | None:
    """Of the mean concordance, over the images that have the targets of all columns."""
    if targets.values is None:
        return None
    known: Bools = np.isfinite(targets.values).all(axis=1).astype(bool)
    if not known.any():
        return None
    pairs = np.concatenate(
        [
            moments(target[known], values[known])
            for target, *both in zip(targets.values.T, reference.T, artifact.T, strict=True)
            for values in both
        ],
        axis=1,
    )
    features = np.zeros((len(known), pairs.shape[1] + 1))
    features[known] = np.concatenate([pairs, np.ones((len(pairs), 1))], axis=1)

    def lost(means: Floats) -> Floats:
        of_known = means[..., :-1] / means[..., -1:]
        ccc = concordance_of_moments(of_known.reshape(*means.shape[:-1], -1, 2, 5))
        loss: Floats = (ccc[..., 0] - ccc[..., 1]).mean(axis=-1)
        return loss

    return Loss(features, lost, known, targets.sequences)


def f1_loss(head: OutputSpec, reference: Floats, artifact: Floats, targets: HeadTargets) -> Loss | None:
    """Of the mean F1 of action units, over those that are active in some image."""
    if targets.values is None:
        return None
    hits = np.stack([unit_hits(head, p, targets.values) for p in (reference, artifact)], axis=1)

    def lost(means: Floats) -> Floats:
        counts = means.reshape(*means.shape[:-1], 2, 3, -1)
        was, is_now = np.moveaxis(positive_f1(*np.moveaxis(counts, -2, 0)), -2, 0)
        right, _, missed = np.moveaxis(counts[..., 0, :, :], -2, 0)
        return mean_where(was - is_now, right + missed > 0)

    return Loss(hits.reshape(len(hits), -1).astype(np.float64), lost, np.ones(len(hits), bool), targets.sequences)


def estimated(loss: Loss | None) -> Estimate | None:
    """A loss with its interval, where there is one."""
    return None if loss is None else loss.estimate()


def together(losses: Sequence[Loss]) -> Loss:
    """What is lost of the sum of several scores."""
    ends = np.cumsum([loss.features.shape[1] for loss in losses])

    def lost(means: Floats) -> Floats:
        parts = np.split(means, ends[:-1], axis=-1)
        total: Floats = np.sum([loss.of_means(part) for loss, part in zip(losses, parts, strict=True)], axis=0)
        return total

    known = np.any([loss.known for loss in losses], axis=0)
    return Loss(np.concatenate([loss.features for loss in losses], axis=1), lost, known, losses[0].sequences)
