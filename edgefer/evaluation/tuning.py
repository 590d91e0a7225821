"""Thresholds of action units, chosen on one half of the images, so that they can be judged on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.evaluation.heads import THRESHOLD, decides, thresholds
from edgefer.evaluation.metrics import Floats, best_f1_threshold
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec


def tune(head: OutputSpec, reference: Floats, targets: HeadTargets) -> tuple[OutputSpec, HeadTargets] | None:
    """The head with the thresholds that are best for the float network on every other image, and targets for the rest.

    Frames of a sequence are alike: all of them choose, or all of them are judged.  A unit that is never active on
    those that choose keeps its own threshold.  None for heads that decide nothing, and where either half has no target.
    """
    if targets.values is None or not decides(head):
        return None
    order = np.arange(len(targets.values))
    if targets.sequences is not None:
        order = np.unique(targets.sequences, return_inverse=True)[1]
    chooses = order % 2 == 0
    chosen, judged = targets.values[chooses], targets.values.copy()
    judged[chooses] = np.nan
    if np.isnan(chosen).all() or np.isnan(judged).all():
        return None
    best = []
    for scores, target, own in zip(reference[chooses].T, chosen.T, thresholds(head), strict=True):
        known = ~np.isnan(target)
        found = best_f1_threshold(scores[known], target[known] >= THRESHOLD)
        best.append(float(own) if np.isnan(found) else found)
    return replace(head, thresholds=tuple(best)), HeadTargets(values=judged, sequences=targets.sequences)
