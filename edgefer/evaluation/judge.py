"""Judging outputs: metrics against targets, drift against the reference, runtimes against each other, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgefer.bundle import Bundle
from edgefer.evaluation.abaw import abaw_scores
from edgefer.evaluation.drift import cross_runtime, drift
from edgefer.evaluation.drops import estimated, f1_loss
from edgefer.evaluation.heads import as_probabilities, chooses_class
from edgefer.evaluation.metrics import Bools, Floats
from edgefer.evaluation.results import (
    REFERENCE,
    ArtifactResult,
    Bound,
    HeadEvaluation,
    Outputs,
    Part,
    Verdict,
)
from edgefer.evaluation.scores import score
from edgefer.evaluation.targets import HeadTargets, Targets
from edgefer.evaluation.tuning import tune
from edgefer.spec import OutputSpec, Spec


def judge(outputs: Outputs, targets: Targets, spec: Spec) -> tuple[Part, ...]:
    """All images, then each subset."""
    everything: Bools = np.ones(len(outputs), bool)
    return tuple(
        _part(name, mask, outputs, targets, spec) for name, mask in {"all": everything, **targets.subsets}.items()
    )


def _part(name: str, mask: Bools, outputs: Outputs, targets: Targets, spec: Spec) -> Part:
    values = {model: {name: found[mask] for name, found in heads.items()} for model, heads in outputs.values.items()}
    truth = {name: _masked(found, mask) for name, found in targets.heads.items()}
    heads = tuple(
        _head(head, {model: found[head.name] for model, found in values.items()}, truth[head.name])
        for head in spec.outputs
    )
    return Part(name, int(mask.sum()), heads, abaw_scores(spec.outputs, heads, values, truth))


def judge_bounds(part: Part, bundle: Bundle, max_drop: float) -> Verdict:
    """Whether the artifacts keep the budget, and the main head its accuracy.

    Too few images are those of which one alone weighs more than the bound: 100 / max_drop, 200 for half a point.
    A drop on fewer is judged only where its whole interval lies beyond the bound.

    Args:
        part: all images.
        bundle: knows the sizes and the budget.
        max_drop: percentage points of accuracy.
    """
    budget = bundle.manifest["budget_bytes"]
    int8 = [artifact for artifact in bundle.artifacts if not artifact.is_reference]
    bounds = [Bound("size", a.format, budget, a.bytes, a.bytes <= budget) for a in int8]
    for format, result in part.main.artifacts.items():
        drop = result.drift.accuracy_drop
        if drop is None:
            continue
        is_beyond = drop.ci95 is not None and drop.ci95[0] > max_drop
        too_few = part.main.labelled * max_drop < 100 and not is_beyond
        reason = f"{part.main.labelled} labelled images are too few: one is {100 / part.main.labelled:.2g} points"
        held = None if too_few else drop.points <= max_drop
        bounds.append(Bound("accuracy_drop", format, max_drop, drop.points, held, reason if too_few else ""))
    return Verdict(tuple(bounds))


def _masked(targets: HeadTargets, mask: Bools) -> HeadTargets:
    return HeadTargets(**{key: None if value is None else value[mask] for key, value in vars(targets).items()})


def _head(head: OutputSpec, values: Mapping[str, Floats], targets: HeadTargets) -> HeadEvaluation:
    if chooses_class(head):
        values = {model: as_probabilities(outputs) for model, outputs in values.items()}
    reference = values[REFERENCE]
    metrics = {model: score(head, outputs, targets) for model, outputs in values.items()}
    drifts = {
        format: drift(head, reference, outputs, targets) for format, outputs in values.items() if format != REFERENCE
    }
    if (tuned := tune(head, reference, targets)) is not None:
        tuned_head, judged = tuned
        for model, outputs in values.items():
            metrics[model] = replace(metrics[model], tuned_units=score(tuned_head, outputs, judged).units)
        for format, found in drifts.items():
            lost = f1_loss(tuned_head, reference, values[format], judged)
            drifts[format] = replace(found, tuned_f1_drop=estimated(lost))
    artifacts = {format: ArtifactResult(metrics[format], found) for format, found in drifts.items()}
    pair = [values[format] for format in artifacts]
    return HeadEvaluation(
        head.name,
        head.kind,
        head.labels,
        _labelled(targets),
        metrics[REFERENCE],
        artifacts,
        cross_runtime(head, *pair) if len(pair) == 2 else None,
    )


def _labelled(targets: HeadTargets) -> int:
    if targets.classes is not None:
        return int((targets.classes >= 0).sum())
    return 0 if targets.values is None else int((~np.isnan(targets.values)).any(axis=1).sum())
