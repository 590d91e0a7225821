"""What became of each class: recalls, flips, confusions and confidence, as sections of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgefer.evaluation.head_metrics import ModelMetrics
from edgefer.evaluation.results import HeadEvaluation
from edgefer.evaluation.summary import NAMES, alike, joined
from edgefer.report import charts
from edgefer.report.markup import Html, figure, html, join, section, side_by_side, table

FEW_CLASSES = 12
"""With more classes, matrices become lists."""
SHOWN = 20
"""Rows of a list that could be as long as the network has classes."""


def section_labels(head: HeadEvaluation, several: bool) -> Html:
    """Recall of each class, concordance of each value or F1 of each action unit: fp32 against int8."""
    heading, unit, measure = _measure(head.reference)
    reference = measure(head.reference)
    if not reference:
        return html("")
    found = {format: measure(result.metrics) for format, result in head.artifacts.items()}
    factor, digits = (100.0, 1) if unit else (1.0, 3)
    lanes = [
        charts.Lane(
            label + _count(head, label),
            _change(reference[label], [values[label] for values in found.values()], factor, digits, unit),
            _times(reference[label], factor),
            {format: _times(values[label], factor) for format, values in found.items()},
        )
        for label in _shown(head, reference, found)
    ]
    values = [v for lane in lanes for v in (lane.reference, *lane.values.values()) if v is not None]
    scale = charts.Scale(min(0.0, *values), factor)
    text = f"{heading}, fp32 against int8"
    more = len(reference) - len(lanes)
    note = f"The {len(lanes)} that changed most of {len(reference)}." if more else ""
    return section(
        _named(heading, head, several),
        charts.legend({"fp32": "fp32", **{format: NAMES.get(format, format) for format in found}}),
        figure("", charts.lanes(text, lanes, scale), note),
    )


def section_flips(head: HeadEvaluation, several: bool) -> Html:
    """Which answers turned into which others."""
    flips = {format: result.drift.flips for format, result in head.artifacts.items() if result.drift.flips is not None}
    if not flips:
        return html("")
    tables = []
    for formats, matrix in alike(flips):
        total = sum(map(sum, matrix))
        if not total:
            tables.append(html("<p>{names}: every answer is fp32's.</p>", names=joined(formats)))
            continue
        caption = f"{joined(formats)}: {total:,} answers changed. Rows: what fp32 says; columns: what int8 says."
        if len(head.labels) <= FEW_CLASSES:
            tables.append(_matrix(caption, head.labels, matrix, matrix, blank=True))
        else:
            pairs = (
                (n, head.labels[i], head.labels[j]) for i, row in enumerate(matrix) for j, n in enumerate(row) if n
            )
            most = sorted(pairs, key=lambda pair: -pair[0])[:SHOWN]
            caption = f"{joined(formats)}: {total:,} answers changed, most often these"
            tables.append(table(caption, ["images"], [(f"{was} → {now}", [n]) for n, was, now in most]))
    return section(_named("Changed answers", head, several), side_by_side(tables))


def section_confusion(head: HeadEvaluation, several: bool) -> Html:
    """What was answered for each label, with the change against fp32."""
    before = head.reference.classes
    if before is None or len(head.labels) > FEW_CLASSES:
        return html("")
    found = {f: result.metrics.classes.confusion for f, result in head.artifacts.items() if result.metrics.classes}
    tables = []
    for formats, matrix in alike(found):
        changes = tuple(
            tuple(now - was for now, was in zip(row, old, strict=True))
            for row, old in zip(matrix, before.confusion, strict=True)
        )
        caption = f"{joined(formats)}. Rows: the label; columns: the answer; small: the change from fp32."
        tables.append(_matrix(caption, head.labels, matrix, _shares(matrix), changes=changes))
    return section(_named("Confusion", head, several), side_by_side(tables))


def section_reliability(head: HeadEvaluation, several: bool) -> Html:
    """Whether confidence is worth what it says, before and after."""
    before = head.reference.classes
    if before is None:
        return html("")
    found = {f: result.metrics.classes.reliability for f, result in head.artifacts.items() if result.metrics.classes}
    figures = []
    for format, after in found.items():
        name = NAMES.get(format, format)
        heading = f"Reliability of {name} and fp32"
        names = {"fp32": f"fp32, error {before.reliability.ece:.3f}", format: f"{name}, error {after.ece:.3f}"}
        key = charts.legend(names, dots=True)
        chart = charts.reliability(heading, {"fp32": before.reliability.bins, format: after.bins})
        figures.append(figure(name, join([key, chart]), ""))
    return section(
        _named("Is confidence worth what it says?", head, several),
        html(
            "<p>Up: share of answers that are right. Across: the probability the network gave them. On the dashed line "
            "both are equal; a dot's area is its number of images. The error is the expected calibration error.</p>"
        ),
        side_by_side(figures),
    )


def _measure(
    reference: ModelMetrics,
) -> tuple[str, str, Callable[[ModelMetrics], Mapping[str, float | None]]]:
    """What is told per label of a head: heading, unit, and where it is."""
    if reference.values:
        return "Concordance (CCC)", "", lambda metrics: metrics.values.ccc if metrics.values else {}
    if reference.units:
        return "F1 per action unit", "", lambda metrics: metrics.units.f1 if metrics.units else {}
    return "Recall per class", " %", lambda metrics: metrics.classes.recall_per_class if metrics.classes else {}


def _shown(
    head: HeadEvaluation, reference: Mapping[str, float | None], found: Mapping[str, Mapping[str, float | None]]
) -> list[str]:
    """The labels that have a number; of very many those that changed most."""
    known = [label for label in head.labels if reference[label] is not None]
    if len(known) <= SHOWN:
        return known

    def change(label: str) -> float:
        was = reference[label] or 0.0
        return max(abs((values[label] or 0.0) - was) for values in found.values())

    return sorted(known, key=lambda label: -change(label))[:SHOWN]


def _count(head: HeadEvaluation, label: str) -> str:
    """How many images a label has, where it is known."""
    metrics = head.reference
    if metrics.classes:
        count = sum(metrics.classes.confusion[head.labels.index(label)])
    else:
        samples = metrics.values or metrics.units
        count = samples.samples[label] if samples else 0
    return f" ({count:,})"


def _change(before: float | None, after: Sequence[float | None], factor: float, digits: int, unit: str) -> str:
    def written(value: float | None) -> str:
        return "?" if value is None else charts.signed(factor * value, digits)

    return f"{written(before)} → {' / '.join(dict.fromkeys(map(written, after)))}{unit}"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _matrix(
    caption: str,
    labels: Sequence[str],
    counts: Sequence[Sequence[int]],
    heat: Sequence[Sequence[float]],
    *,
    changes: Sequence[Sequence[int]] | None = None,
    blank: bool = False,
) -> Html:
    """A table of counts, each cell tinted by its heat."""
    hottest = max((value for row in heat for value in row), default=0) or 1
    cells = [
        (
            label,
            [
                html(
                    '<span class="heat" style="--heat:{heat:.2f}">{count}{change}</span>',
                    heat=heat[i][j] / hottest,
                    count="" if blank and not count else count,
                    change=_delta(changes[i][j]) if changes is not None else "",
                )
                for j, count in enumerate(row)
            ],
        )
        for i, (label, row) in enumerate(zip(labels, counts, strict=True))
    ]
    heads = [html('<span class="upright">{label}</span>', label=label) for label in labels]
    return html('<div class="matrix">{table}</div>', table=table(caption, heads, cells))


def _delta(change: int) -> Html:
    text = charts.signed(change, 0) if change <= 0 else f"+{change}"
    return html("<small>{text}</small>", text=text if change else html("&nbsp;"))


def _shares(matrix: Sequence[Sequence[int]]) -> list[list[float]]:
    return [[count / (sum(row) or 1) for count in row] for row in matrix]


def _named(heading: str, head: HeadEvaluation, several: bool) -> str:
    return f"{heading}: {head.name}" if several else heading
