"""What is found of one head of one model: numbers against each kind of target, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % bootstrap interval over images, None where there is no variance to tell it from."""

    value: float
    ci95: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"value": self.value, "ci95": self.ci95 and list(self.ci95)}


@dataclass(frozen=True)
class Drop:
    """What an artifact loses in accuracy against the reference on the same images.

    Attributes:
        points: accuracy of the reference minus the artifact's, in percentage points.
        ci95: paired bootstrap interval, in percentage points.
        p_value: exact two-sided test of no difference, see `statistics.paired_test`.
        lost: images that only the reference has right.
        gained: images that only the artifact has right.
    """

    points: float
    ci95: Interval | None
    p_value: float
    lost: int
    gained: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "points": self.points,
            "ci95": self.ci95 and list(self.ci95),
            "p_value": self.p_value,
            "lost": self.lost,
            "gained": self.gained,
        }


@dataclass(frozen=True)
class Bin:
    """Images whose confidence (largest probability) lies in (low, high].

    Attributes:
        low: lower end.
        high: upper end.
        count: how many images.
        confidence: their mean confidence.
        accuracy: share of them that are right.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """How far confidence is from accuracy: the expected calibration error and the bins it is the mean of."""

    ece: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; empty bins are left out."""
        return {"ece": self.ece, "bins": [vars(b) for b in self.bins if b.count]}


@dataclass(frozen=True)
class Smile:
    """The probability of happy as a smile detector.

    Attributes:
        threshold: a smile is a score of at least this.
        recall: share of happy images found.
        false_positive_rate: share of the other images taken for happy.
        roc_auc: probability that a happy image scores above another one; ties count half.
        fixed_rate: share of the other images that may be taken for happy, whatever the model;
        fixed_rate_threshold: the lowest threshold at which no more are;
        fixed_rate_recall: and the share of happy images found with it.
    """

    threshold: float
    recall: float | None
    false_positive_rate: float | None
    roc_auc: float | None
    fixed_rate: float
    fixed_rate_threshold: float | None
    fixed_rate_recall: float | None


@dataclass(frozen=True)
class ClassMetrics:
    """A model's choice of class against labels.

    Attributes:
        accuracy: share of images with the right class on top.
        macro_f1: mean F1 of the classes that have images.
        recall_per_class: None for classes without images.
        confusion: counts; rows are labels, columns the model's choice.
        cross_entropy: mean of -log p(label), in nats.
        reliability: calibration of the largest probability.
        smile: None where the network has no class `happy`.
    """

    accuracy: float
    macro_f1: float
    recall_per_class: Mapping[str, float | None]
    confusion: Matrix
    cross_entropy: float
    reliability: Reliability
    smile: Smile | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "recall_per_class": dict(self.recall_per_class),
            "confusion": [list(row) for row in self.confusion],
            "cross_entropy": self.cross_entropy,
            "reliability": self.reliability.to_dict(),
            "smile": self.smile and vars(self.smile),
        }


@dataclass(frozen=True)
class SoftMetrics:
    """A model against the votes of several raters.

    Attributes:
        samples: images with at least one vote for a class of the network.
        cross_entropy: mean of -sum(votes * log p), in nats.
        kl: cross-entropy less the raters' own entropy: zero for a model that predicts the votes.
        majority_samples: images on which one class of the network has more votes than anything else.
        majority_accuracy: share of those with that class on top.
    """

    samples: int
    cross_entropy: float
    kl: float
    majority_samples: int
    majority_accuracy: float | None


@dataclass(frozen=True)
class ValueMetrics:
    """Valence and arousal, or other continuous columns, against targets.

    Attributes:
        samples: images with a target, per column.
        ccc: concordance correlation coefficient per column; None without variance.
        rmse: root mean squared error per column.
    """

    samples: Mapping[str, int]
    ccc: Mapping[str, float | None]
    rmse: Mapping[str, float | None]

    @property
    def mean_ccc(self) -> float | None:
        """Mean over the columns; None where one of them has none, as the mean of the others is another number."""
        return None if None in self.ccc.values() else _mean(self.ccc)


@dataclass(frozen=True)
class UnitMetrics:
    """Action units against targets.

    Attributes:
        samples: images with a target, per unit.
        f1: F1 of the positive class per unit; None where it is active in no image.
        thresholds: a unit is active from this probability on.
    """

    samples: Mapping[str, int]
    f1: Mapping[str, float | None]
    thresholds: Mapping[str, float]

    @property
    def mean_f1(self) -> float | None:
        """Mean over the units that have one."""
        return _mean(self.f1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "f1": dict(self.f1),
            "mean_f1": self.mean_f1,
            "thresholds": dict(self.thresholds),
            "targets": dict(self.samples),
        }


@dataclass(frozen=True)
class ModelMetrics:
    """One head of one model against whatever targets the data has for it.

    Attributes:
        classes: against labels.
        soft: against votes.
        values: of columns that are continuous.
        units: with the Spec's thresholds.
        tuned_units: on every other image, with the thresholds that are best for the float network on those between.
    """

    classes: ClassMetrics | None = None
    soft: SoftMetrics | None = None
    values: ValueMetrics | None = None
    units: UnitMetrics | None = None
    tuned_units: UnitMetrics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: only what there is."""
        document: dict[str, Any] = {}
        if self.classes:
            document |= self.classes.to_dict()
        if self.soft:
            document["soft_labels"] = vars(self.soft)
        if self.values:
            document |= {"ccc": dict(self.values.ccc), "mean_ccc": self.values.mean_ccc, "rmse": dict(self.values.rmse)}
            document["targets"] = dict(self.values.samples)
        if self.units:
            document |= self.units.to_dict()
        if self.tuned_units:
            document["tuned"] = self.tuned_units.to_dict()
        return document


def _mean(columns: Mapping[str, float | None]) -> float | None:
    values = [value for value in columns.values() if value is not None]
    return sum(values) / len(values) if values else None
