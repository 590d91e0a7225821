"""The drop in accuracy that a network's own probabilities let one expect, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefer.quantize.scales.ranges import Values, sigmoid
from edgefer.spec import HeadActivation


@dataclass(frozen=True)
class Answer:
    """What a head's values, before their activation, are read as.

    Attributes:
        activation: after softmax the largest is the answer, after sigmoid each says yes or no; what follows neither
            has no accuracy.
        thresholds: after sigmoid, for each column from which probability on it says yes; 0.5 where there are none.
    """

    activation: HeadActivation
    thresholds: tuple[float, ...] = ()

    @property
    def has_accuracy(self) -> bool:
        """Whether answers can be right or wrong."""
        return self.activation in ("softmax", "sigmoid")


def expected_drop(expected: Values, found: Values, answer: Answer) -> float:
    """Percentage points of accuracy that a head loses, if the float network's probabilities are right.

    Where both choose the same, nothing is lost; elsewhere the probability of what the float network chose, less that
    of what was chosen instead.  Labels would count a changed answer as loss, gain or neither, at random; with few
    images this estimate is far steadier.  A threshold t other than 0.5 says that one mistake costs more than the other:
    a changed answer then counts |p - t| / max(t, 1 - t), which is at most 1, and |2 p - 1| where t is 0.5.

    Args:
        expected: the float network's values before the activation, (images, columns).
        found: those of the network judged.
        answer: what both are read as; without accuracy, nothing drops.
    """
    if answer.activation == "softmax":
        probabilities = _softmax(expected)
        chosen = np.take_along_axis(probabilities, found.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
        return float(100 * np.mean(probabilities.max(axis=1) - chosen))
    if answer.activation == "sigmoid":
        thresholds = np.asarray(answer.thresholds or (0.5,))
        probabilities, others = sigmoid(expected), sigmoid(found)
        changed = (probabilities >= thresholds) != (others >= thresholds)
        costs = np.abs(probabilities - thresholds) / np.maximum(thresholds, 1 - thresholds)
        return float(100 * np.mean(costs * changed))
    return 0.0


def _softmax(values: Values) -> Values:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Values = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
