"""What can be gated: each metric with its dimension, the direction that is worse, and where its evidence is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgefer.gates.quantity import COUNT, POINTS, RATE, SCORE, SHARE, SIZE, TIME, Dimension

Source: TypeAlias = Literal["bundle", "evaluation", "benchmark"]


@dataclass(frozen=True)
class Metric:
    """A number that a bundle has.

    Attributes:
        name: as gates call it.
        dimension: its units.
        higher_is_worse: the direction.
        source: where its evidence is from.
        resolution: how far beyond a bound the true value may still lie, for all that the evidence says, where a gate
            does not state it; None where it is counted and not estimated.
    """

    name: str
    dimension: Dimension
    higher_is_worse: bool
    source: Source
    resolution: str | float | None = None


METRICS = {
    metric.name: metric
    for metric in (
        Metric("size", SIZE, True, "bundle"),
        Metric("delegated", SHARE, False, "bundle"),
        Metric("accuracy", SHARE, False, "evaluation", "1 point"),
        Metric("accuracy_drop", POINTS, True, "evaluation", "1 point"),
        Metric("agreement", SHARE, False, "evaluation", "1 point"),
        Metric("recall", SHARE, False, "evaluation", "10 points"),
        Metric("macro_f1", SCORE, False, "evaluation", 0.02),
        Metric("ccc", SCORE, False, "evaluation", 0.05),
        Metric("f1", SCORE, False, "evaluation", 0.05),
        Metric("cosine_similarity", SCORE, False, "evaluation", 0.005),
        Metric("neighbour_agreement", SHARE, False, "evaluation", "5 points"),
        Metric("latency_p50", TIME, True, "benchmark", "15 %"),
        Metric("latency_p90", TIME, True, "benchmark", "25 %"),
        Metric("frame_p50", TIME, True, "benchmark", "15 %"),
        Metric("frame_p90", TIME, True, "benchmark", "25 %"),
        Metric("frame_rate", RATE, False, "benchmark"),
        Metric("instructions", COUNT, True, "benchmark"),
        Metric("peak_rss", SIZE, True, "benchmark"),
        Metric("load_time", TIME, True, "benchmark"),
        Metric("first_inference", TIME, True, "benchmark"),
    )
}
