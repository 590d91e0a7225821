"""What the kind of a head decides: how its values are read and what its answer is."""

from __future__ import annotations

import numpy as np

from edgefer.evaluation.metrics import Array, Floats, Ints
from edgefer.images import match_labels
from edgefer.spec import OutputSpec

THRESHOLD = 0.5
"""From which value on something is present, where the Spec does not say."""


def chooses_class(head: OutputSpec) -> bool:
    """Whether a head's largest value is its answer."""
    return head.kind in ("expression", "classes") or head.activation == "softmax"


def decides(head: OutputSpec) -> bool:
    """Whether each value of a head is a yes or no of its own."""
    return not chooses_class(head) and (head.kind == "action_units" or head.activation == "sigmoid")


def thresholds(head: OutputSpec) -> Floats:
    """From which value on each label is present, (columns,)."""
    return np.asarray(head.thresholds or (THRESHOLD,) * len(head.labels), np.float64)


def happy_column(head: OutputSpec) -> int | None:
    """The column that is the smile score, None where the head has no class `happy`."""
    return match_labels(("happy",), head.labels).to_network[0]


def as_probabilities(values: Floats) -> Floats:
    """Outputs of a head that chooses a class, through softmax where the network leaves that to its reader.

    Probabilities may each be rounded to 1 / 256.
    """
    if values.min(initial=0) >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3 + values.shape[1] / 512):
        return values
    powers: Floats = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def number(value: Array | float) -> float | None:
    """A float, or None where it is undefined."""
    return float(value) if np.isfinite(value) else None


def matrix(counts: Ints) -> tuple[tuple[int, ...], ...]:
    """Counts as plain integers."""
    return tuple(tuple(int(count) for count in row) for row in counts)
