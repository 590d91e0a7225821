"""The scores of the ABAW challenges (Kollias, CVPRW 2022; ECCVW 2022), of a network's heads.

    P_EXPR    mean F1 of the expressions
    P_VA      mean of the concordance of valence and of arousal
    P_AU      mean F1 of the action units
    P_MTL     P_EXPR + P_VA + P_AU

Each is taken over the images that have its target.  Expressions and units of which there is no image are left out of
the means; in the challenges there are none.  Without valence, or without arousal, there is no P_VA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgefer.evaluation.drops import Loss, ccc_loss, f1_loss, macro_f1_loss, together
from edgefer.evaluation.head_metrics import Estimate, ModelMetrics
from edgefer.evaluation.metrics import Floats
from edgefer.evaluation.results import REFERENCE, Abaw, Drift, HeadEvaluation
from edgefer.evaluation.targets import HeadTargets
from edgefer.spec import OutputSpec

_NAMES = {"expression": "p_expr", "valence_arousal": "p_va", "action_units": "p_au"}
_ALL = "p_mtl"
_LOSSES: Mapping[str, Callable[[OutputSpec, Floats, Floats, HeadTargets], Loss | None]] = {
    "p_expr": macro_f1_loss,
    "p_va": ccc_loss,
    "p_au": f1_loss,
}


def abaw_scores(
    heads: Sequence[OutputSpec],
    found: Sequence[HeadEvaluation],
    values: Mapping[str, Mapping[str, Floats]],
    targets: Mapping[str, HeadTargets],
) -> Abaw | None:
    """What the challenges would give; None where the data has targets for expressions alone, or for nothing.

    Args:
        heads: of the network; the first of each kind that has targets counts.
        found: of each of them.
        values: by model and head, (images, columns).
        targets: by head.
    """
    judged: dict[str, tuple[OutputSpec, HeadEvaluation]] = {}
    for head, result in zip(heads, found, strict=True):
        if head.kind in _NAMES and _score(result.reference) is not None:
            judged.setdefault(_NAMES[head.kind], (head, result))
    if not judged.keys() - {"p_expr"}:
        return None
    models = {REFERENCE: _scores({name: result.reference for name, (_, result) in judged.items()})}
    drops: dict[str, dict[str, Estimate | None]] = {}
    for format in found[0].artifacts:
        results = {name: result.artifacts[format] for name, (_, result) in judged.items()}
        models[format] = _scores({name: result.metrics for name, result in results.items()})
        drops[format] = {name: _drop(result.drift) for name, result in results.items()}
        losses = [
            _LOSSES[name](head, values[REFERENCE][head.name], values[format][head.name], targets[head.name])
            for name, (head, _) in judged.items()
        ]
        if _ALL in models[format]:
            drops[format][_ALL] = together([loss for loss in losses if loss is not None]).estimate()
    return Abaw(models, drops)


def _scores(metrics: Mapping[str, ModelMetrics]) -> dict[str, float | None]:
    """Of one model, in the order of the challenges, and their sum where there are all."""
    scores = {name: _score(metrics[name]) for name in _LOSSES if name in metrics}
    values = [value for value in scores.values() if value is not None]
    return {**scores, _ALL: sum(values)} if len(values) == len(_LOSSES) else scores


def _score(metrics: ModelMetrics) -> float | None:
    if metrics.classes is not None:
        return metrics.classes.macro_f1
    if metrics.values is not None:
        return metrics.values.mean_ccc
    return None if metrics.units is None else metrics.units.mean_f1


def _drop(drift: Drift) -> Estimate | None:
    return drift.macro_f1_drop or drift.ccc_drop or drift.f1_drop
