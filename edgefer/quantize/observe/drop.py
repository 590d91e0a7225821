"""The drop in accuracy that a network's own probabilities let one expect, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

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


def expected_changes(expected: Values, found: Values, answer: Answer) -> float:
    """The share of answers that noise of this size changes, if it has no direction.

    Answers that did change are few and chance; what they would have to be overcome by, and the noise of each image,
    are known of all.  Noise of standard deviation s in each column overcomes a lead m of one over another with
    probability Q(m / (sqrt(2) s)), and a distance m from a threshold with Q(m / s).

    Args:
        expected: the float network's values before the activation, (images, columns).
        found: those of the network judged.
        answer: what both are read as; without accuracy, nothing changes.
    """
    off = found - expected
    if answer.activation == "softmax":
        ranked = np.sort(expected, axis=1)
        leads = (ranked[:, -1:] - ranked[:, -2:-1]) / np.sqrt(2)
        off = off - off.mean(axis=1, keepdims=True)
    elif answer.activation == "sigmoid":
        thresholds = np.asarray(answer.thresholds or (0.5,))
        leads = np.abs(expected - np.log(thresholds / (1 - thresholds)))
    else:
        return 0.0
    deviations = np.sqrt(np.square(off).mean(axis=1, keepdims=True))
    ratios = leads / np.maximum(deviations, np.finfo(np.float64).tiny)
    return float(np.mean([erfc(ratio / sqrt(2)) / 2 for ratio in ratios.flat]))


def _softmax(values: Values) -> Values:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Values = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
