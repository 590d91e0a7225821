"""The drop in accuracy that a network's own probabilities let one expect, without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.spec import HeadActivation

Values = npt.NDArray[np.float64]


def expected_drop(expected: Values, found: Values, activation: HeadActivation) -> float:
    """Percentage points of accuracy that a head loses, if the float network's probabilities are right.

    Where both choose the same, nothing is lost; elsewhere the probability of what the float network chose, less that
    of what was chosen instead.  Labels would count a changed answer as loss, gain or neither, at random; with few
    images this estimate is far steadier.

    Args:
        expected: the float network's values before the activation, (images, columns).
        found: those of the network judged.
        activation: of the head; what follows neither softmax nor sigmoid has no accuracy, and drops by 0.
    """
    if activation == "softmax":
        probabilities = _softmax(expected)
        chosen = np.take_along_axis(probabilities, found.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
        return float(100 * np.mean(probabilities.max(axis=1) - chosen))
    if activation == "sigmoid":
        lost: Any = np.where((expected > 0) != (found > 0), np.tanh(np.abs(expected) / 2), 0)
        return float(100 * lost.mean())
    return 0.0


def _softmax(values: Values) -> Values:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Values = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
