"""An evaluation for people: the rows of a table, a verdict in words, Markdown for a pull request, CSV per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from edgefer.evaluation.head_metrics import Drop, Estimate, Interval, ModelMetrics
from edgefer.evaluation.heads import as_probabilities
from edgefer.evaluation.results import REFERENCE, Bound, Evaluation, HeadEvaluation, LayerView, Part
from edgefer.evaluation.scores import FALSE_POSITIVE_RATE
from edgefer.host.csv_tables import csv_text
from edgefer.host.units import format_size

Row: TypeAlias = tuple[str, ...]
_T = TypeVar("_T")

NAMES = {"reference": "fp32", "onnx": "ONNX", "tflite": "TFLite"}


def rows(head: HeadEvaluation) -> tuple[Row, list[Row]]:
    """Header and rows of the table about one head: what is measured, then a column per model."""
    header = ("", NAMES["reference"], *(NAMES.get(format, format) for format in head.artifacts))
    models = [head.reference, *(result.metrics for result in head.artifacts.values())]
    drifts = [result.drift for result in head.artifacts.values()]
    metrics = [(name, *(write(_at(model, path)) for model in models)) for name, (path, write) in _METRICS.items()]
    metrics += _parts_of_ccc(models)
    changes = [(name, "", *(write(_at(drift, path)) for drift in drifts)) for name, (path, write) in _DRIFTS.items()]
    return header, [row for row in (*metrics, *changes) if any(row[1:])]


def _parts_of_ccc(models: Sequence[ModelMetrics]) -> list[Row]:
    """The concordance of each column, where there is none of some and so no mean."""
    found = [model.values for model in models if model.values is not None]
    if not found or found[0].mean_ccc is not None:
        return []
    return [(f"CCC of {label}", *(_value(values.ccc[label]) for values in found)) for label in found[0].ccc]


def abaw_rows(part: Part) -> tuple[Row, list[Row]]:
    """The same about the scores of the ABAW challenges; no rows where the data does not say."""
    if part.abaw is None:
        return (), []
    scores, drops = part.abaw.scores, part.abaw.drops
    header = ("", *(NAMES.get(model, model) for model in scores))
    found = []
    for name in scores[REFERENCE]:
        written = name.upper()
        found.append((written, *(_value(scores[model][name]) for model in scores)))
        found.append((f"{written} drop", "", *(_value(drops[format].get(name)) for format in drops)))
    return header, [row for row in found if any(row[1:])]


def verdict(evaluation: Evaluation) -> tuple[str, ...]:
    """One sentence per bound, the broken ones first."""
    order = {False: 0, None: 1, True: 2}
    lines = [_bound(bound) for bound in sorted(evaluation.verdict.bounds, key=lambda bound: order[bound.held])]
    if not any(bound.name == "accuracy_drop" for bound in evaluation.verdict.bounds):
        lines.append("no bound on accuracy was judged: the images have no labels that the network knows")
    return tuple(lines)


def runtimes(evaluation: Evaluation) -> tuple[str, ...]:
    """Sentences about the artifacts against each other; none where the bundle has one only."""
    lines = []
    cross = evaluation.all.main.cross_runtime
    if cross is not None:
        agreement = f"{_percent(cross.agreement)} agreement, " if cross.agreement else ""
        lines.append(
            f"TFLite against ONNX: {agreement}largest difference {cross.max_abs_difference:.3g}, "
            f"{100 * cross.identical:.1f} % of images equal"
        )
    if cross is not None and evaluation.layers is not None:
        lines.append(_layers(evaluation.layers))
    return tuple(lines)


def to_markdown(evaluation: Evaluation) -> str:
    """A summary for a pull request."""
    sign = {True: "✅", None: "⚠️", False: "❌"}[evaluation.verdict.held]
    lines = [f"### {sign} {escaped(evaluation.bundle.name)} on {escaped(evaluation.data.source)}", ""]
    lines += [f"- {escaped(line)}" for line in (*verdict(evaluation), *runtimes(evaluation))]
    for part in evaluation.parts:
        for head in part.heads:
            lines += ["", f"**{escaped(title(part, head))}**", "", *_markdown_table(*rows(head))]
        if part.abaw is not None:
            lines += ["", f"**{escaped(abaw_title(part))}**", "", *_markdown_table(*abaw_rows(part))]
    notes = [f"- {escaped(note)}" for note in evaluation.data.notes]
    versions = ", ".join(f"{tool} {version}" for tool, version in evaluation.versions.items())
    return "\n".join((*lines, "", *notes, *([""] if notes else []), f"<sub>{escaped(versions)}</sub>", ""))


def to_csv(evaluation: Evaluation) -> str:
    """A line per image: `name,label,fp32,fp32_p,tflite,tflite_p,...`; heads of values have a column per label."""
    main = evaluation.all.main
    columns: dict[str, list[str]] = {"name": list(evaluation.outputs.names)}
    if evaluation.labels is not None:
        columns["label"] = [main.labels[label] if label >= 0 else "" for label in evaluation.labels]
    for head in evaluation.all.heads:
        prefix = "" if head is main else f"{head.name}_"
        for model, heads in evaluation.outputs.values.items():
            name = f"{prefix}{'fp32' if model == REFERENCE else model}"
            if head.chooses_class:
                p = as_probabilities(heads[head.name])
                columns[name] = [head.labels[top] for top in p.argmax(axis=1)]
                columns[f"{name}_p"] = [f"{value:.6f}" for value in p.max(axis=1)]
            else:
                for label, values in zip(head.labels, heads[head.name].T, strict=True):
                    columns[f"{name}_{label}"] = [f"{value:.6f}" for value in values]
    return csv_text(columns, zip(*columns.values(), strict=True))


def alike(found: Mapping[str, _T]) -> list[tuple[list[str], _T]]:
    """Formats and what they share, so that equal results are shown once."""
    groups: list[tuple[list[str], _T]] = []
    for format, value in found.items():
        formats = next((formats for formats, other in groups if other == value), None)
        if formats is None:
            groups.append(([format], value))
        else:
            formats.append(format)
    return groups


def joined(formats: Sequence[str]) -> str:
    """Formats by the names that people know, in one phrase."""
    return " and ".join(NAMES.get(format, format) for format in formats)


def title(part: Part, head: HeadEvaluation) -> str:
    """What a table is about."""
    labelled = "unlabelled" if not head.labelled else f"{head.labelled:,} labelled"
    subset = "all images" if part.name == "all" else f"subset {part.name}"
    head_name = f"{head.name}, " if len(part.heads) > 1 else ""
    return f"{head_name}{subset}: {part.samples:,}, {labelled}"


def abaw_title(part: Part) -> str:
    """What the table of the challenges' scores is about."""
    return f"scores of the ABAW challenges, {'all images' if part.name == 'all' else f'subset {part.name}'}"


def _bound(bound: Bound) -> str:
    name = NAMES.get(bound.format, bound.format)
    if bound.name == "size":
        relation = "is within" if bound.held else "exceeds"
        return f"{name} {relation} the budget: {bound.found:,.0f} bytes of {format_size(int(bound.limit))}"
    if bound.held is None:
        return f"{name}: a drop of {bound.limit:g} points cannot be judged: {bound.reason}"
    relation = "is within" if bound.held else "exceeds"
    return f"{name}: accuracy drop of {bound.found:.2f} points {relation} the bound of {bound.limit:g}"


def _layers(layers: LayerView) -> str:
    first = layers.first_difference
    if first is None:
        return f"all {len(layers.layers)} stored tensors are equal in both runtimes on {layers.images} images"
    culprits = [f"{op} ({n} of {total})" for op, (n, total) in layers.own_differences.items() if n]
    culprit = f"; fed equal integers, only {', '.join(culprits)} differ" if culprits else ""
    return f"stored integers first differ at {first.op} {first.node}, by {first.max_lsb} LSB at most{culprit}"


def _markdown_table(header: Row, found: Sequence[Row]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---{'|---:' * (len(header) - 1)}|"
    for row in found:
        yield f"| {' | '.join(map(escaped, row))} |"


def escaped(text: str) -> str:
    """`text` for Markdown, on one line and without markup of its own."""
    for character in ("\\", "|", "<", "`", "*", "_"):
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _at(result: Any, path: str) -> Any:
    """The value at a dotted path, None where any part of it is None."""
    for part in path.split("."):
        result = None if result is None else getattr(result, part)
    return result


def _percent(value: Estimate | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    ends = value.ci95 and (100 * value.ci95[0], 100 * value.ci95[1])
    return f"{100 * value.value:.1f} %{_interval(ends, 1)}"


def _interval(ends: Interval | None, digits: int) -> str:
    return f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})" if ends else ""


def _drop(drop: Drop | None) -> str:
    return "" if drop is None else f"{drop.points:+.2f}{_interval(drop.ci95, 2)}"


def _p_value(drop: Drop | None) -> str:
    if drop is None:
        return ""
    return "< 0.0001" if drop.p_value < 1e-4 else f"{drop.p_value:.3g}"


def _decibels(value: float | None) -> str:
    return "equal" if value is None else _value(value, 1)


def _value(value: Estimate | float | None, digits: int = 4) -> str:
    if isinstance(value, Estimate):
        return f"{value.value:.{digits}f}{_interval(value.ci95, digits)}"
    return "" if value is None else f"{value:.{digits}f}"


_RATE = f"{100 * FALSE_POSITIVE_RATE:g} %"

_METRICS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "top-1 accuracy": ("classes.accuracy", _percent),
    "macro-F1": ("classes.macro_f1", _value),
    "calibration error": ("classes.reliability.ece", _value),
    "smile recall": ("classes.smile.recall", _percent),
    "smile false-positive rate": ("classes.smile.false_positive_rate", _percent),
    f"smile recall at {_RATE} false positives": ("classes.smile.fixed_rate_recall", _percent),
    "smile ROC-AUC": ("classes.smile.roc_auc", _value),
    "accuracy against majority": ("soft.majority_accuracy", _percent),
    "KL from the votes": ("soft.kl", _value),
    "mean CCC": ("values.mean_ccc", _value),
    "mean F1": ("units.mean_f1", _value),
    "mean F1, thresholds of the other half": ("tuned_units.mean_f1", _value),
}

_DRIFTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "accuracy drop, points (95 %)": ("accuracy_drop", _drop),
    "  p (McNemar)": ("accuracy_drop", _p_value),
    "majority accuracy drop": ("majority_accuracy_drop", _drop),
    "macro-F1 drop": ("macro_f1_drop", _value),
    "CCC drop": ("ccc_drop", _value),
    "F1 drop": ("f1_drop", _value),
    "  thresholds of the other half": ("tuned_f1_drop", _value),
    "agreement with fp32": ("agreement", _percent),
    "cosine similarity to fp32": ("cosine_similarity", _value),
    "same nearest neighbour": ("neighbour_agreement", _percent),
    "KL(fp32 || int8), nats": ("kl", _value),
    "largest change": ("max_abs_change", _value),
    "SQNR, dB": ("sqnr_db", _decibels),
    f"smile recall drop at {_RATE}": ("smile_recall_drop", _value),
    "smile rank correlation": ("smile_rank_correlation", _value),
}
"""By title: where the number is, and how it is written."""
