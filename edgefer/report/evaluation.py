"""The report that `evaluate` writes: do the bounds hold, what moved, for whom, and where in the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeVar

from edgefer.evaluation.results import (
    Bound,
    Drop,
    Estimate,
    Evaluation,
    HeadEvaluation,
    Interval,
    ModelMetrics,
    Part,
)
from edgefer.evaluation.summary import NAMES, rows, runtimes, title
from edgefer.host.units import format_size
from edgefer.images import ImageSet
from edgefer.report import charts
from edgefer.report.changes import section_changes
from edgefer.report.conversion import (
    Manifest,
)
from edgefer.report.markup import Html, facts, html, join, section, table
from edgefer.spec import Spec

FEW_CLASSES = 12
"""With more classes, matrices become lists."""
SHOWN = 20
"""Rows of a list that could be as long as the network has classes."""
WORST = 8
"""Tensors that are named."""

_T = TypeVar("_T")


def sections_drift(manifest: Manifest, evaluation: Evaluation, images: ImageSet | None = None) -> list[Html | None]:
    """What was found, from the drift of each head to all numbers; None where there is no data for a section.

    Args:
        manifest: of the bundle.
        evaluation: of that bundle.
        images: the evaluated set, for its pixels to be in the document; None to keep them out.
    """
    spec = Spec.from_dict({"input": manifest["input"], "outputs": manifest["outputs"]})
    heads = evaluation.all.heads
    return [
        *(section_drift(evaluation, head) for head in heads),
        *(section_labels(head, len(heads) > 1) for head in heads),
        *(section_flips(head, len(heads) > 1) for head in heads),
        *(section_confusion(head, len(heads) > 1) for head in heads),
        *(section_reliability(head, len(heads) > 1) for head in heads),
        section_network(evaluation),
        section_runtimes(evaluation),
        section_changes(evaluation, spec.input, images),
        section_numbers(evaluation),
    ]


def section_verdict(evaluation: Evaluation) -> Html:
    """The headline: do the bounds hold, each with its evidence."""
    bounds = sorted(evaluation.verdict.bounds, key=lambda bound: (bound.name, bound.held is not False))
    broken = sum(bound.held is False for bound in bounds)
    verb = "does" if broken == 1 else "do"
    headline, kind = {
        True: ("Every bound holds.", ""),
        False: (f"{broken} of {len(bounds)} bounds {verb} not hold.", " missed"),
        None: ("The evidence is too small to judge every bound.", " open"),
    }[evaluation.verdict.held]
    lines = [
        html(
            '<li class="{kind}"><span class="sign">{sign}</span> {text}</li>',
            kind={True: "held", False: "broken", None: "unknown"}[bound.held],
            sign={True: "holds", False: "broken", None: "open"}[bound.held],
            text=_bound(bound, evaluation.all.main),
        )
        for bound in bounds
    ]
    if not any(bound.name == "accuracy_drop" for bound in bounds):
        headline = "The budget holds; accuracy was not judged." if evaluation.verdict.held else headline
        lines.append(
            html(
                '<li class="unknown"><span class="sign">open</span> '
                "Accuracy was not judged: the images have no labels that the network knows.</li>"
            )
        )
    return html(
        '<header>\n<p class="kicker">Evaluation report</p>\n<h1>{name}</h1>\n<p class="subject">On {data}</p>\n'
        '<div class="verdict{kind}">\n<strong>{headline}</strong>\n<ul>\n{lines}\n</ul>\n<p>{finding}</p>\n</div>\n'
        "</header>",
        name=evaluation.bundle.name,
        data=f"{evaluation.data.source}: {_images(evaluation.all)}",
        kind=kind,
        headline=headline,
        lines=join(lines),
        finding=_finding(evaluation.all.main),
    )


def section_drift(evaluation: Evaluation, head: HeadEvaluation) -> Html:
    """How far from the float network, with intervals, on all images and on each subset."""
    parts = [(part, next(h for h in part.heads if h.name == head.name)) for part in evaluation.parts]
    limit = next((b.limit for b in evaluation.verdict.bounds if b.name == "accuracy_drop"), None)
    figures = [
        _figure(
            heading,
            charts.whiskers(
                heading,
                found,
                origin=origin,
                highest=100 if key == "agreement" else inf,
                bound=limit if key == "accuracy_drop" and head is evaluation.all.main else None,
            ),
            note,
        )
        for key, (heading, note, origin, factor, digits) in _DRIFTS.items()
        if (found := _whiskers(parts, key, factor, digits))
    ]
    if not figures:
        return html("")
    name = "Drift from the float network" + (f": {head.name}" if len(evaluation.all.heads) > 1 else "")
    return section(name, html('<div class="charts">\n{figures}\n</div>', figures=join(figures)))


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
        _figure("", charts.lanes(text, lanes, scale), note),
    )


def section_flips(head: HeadEvaluation, several: bool) -> Html:
    """Which answers turned into which others."""
    flips = {format: result.drift.flips for format, result in head.artifacts.items() if result.drift.flips is not None}
    if not flips:
        return html("")
    tables = []
    for formats, matrix in _alike(flips):
        total = sum(map(sum, matrix))
        if not total:
            tables.append(html("<p>{names}: every answer is fp32's.</p>", names=_joined(formats)))
            continue
        caption = f"{_joined(formats)}: {total:,} answers changed. Rows: what fp32 says; columns: what int8 says."
        if len(head.labels) <= FEW_CLASSES:
            tables.append(_matrix(caption, head.labels, matrix, matrix, blank=True))
        else:
            pairs = (
                (n, head.labels[i], head.labels[j]) for i, row in enumerate(matrix) for j, n in enumerate(row) if n
            )
            most = sorted(pairs, key=lambda pair: -pair[0])[:SHOWN]
            caption = f"{_joined(formats)}: {total:,} answers changed, most often these"
            tables.append(table(caption, ["images"], [(f"{was} → {now}", [n]) for n, was, now in most]))
    return section(_named("Changed answers", head, several), _side_by_side(tables))


def section_confusion(head: HeadEvaluation, several: bool) -> Html:
    """What was answered for each label, with the change against fp32."""
    before = head.reference.classes
    if before is None or len(head.labels) > FEW_CLASSES:
        return html("")
    found = {f: result.metrics.classes.confusion for f, result in head.artifacts.items() if result.metrics.classes}
    tables = []
    for formats, matrix in _alike(found):
        changes = tuple(
            tuple(now - was for now, was in zip(row, old, strict=True))
            for row, old in zip(matrix, before.confusion, strict=True)
        )
        caption = f"{_joined(formats)}. Rows: the label; columns: the answer; small: the change from fp32."
        tables.append(_matrix(caption, head.labels, matrix, _shares(matrix), changes=changes))
    return section(_named("Confusion", head, several), _side_by_side(tables))


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
        figures.append(html("<figure>\n<h3>{name}</h3>\n{key}\n{chart}\n</figure>", name=name, key=key, chart=chart))
    return section(
        _named("Is confidence worth what it says?", head, several),
        html(
            "<p>Up: share of answers that are right. Across: the probability the network gave them. On the dashed line "
            "both are equal; a dot's area is its number of images. The error is the expected calibration error.</p>"
        ),
        html('<div class="charts">\n{figures}\n</div>', figures=join(figures)),
    )


def section_network(evaluation: Evaluation) -> Html:
    """Signal-to-noise ratio of every stored tensor, the worst named."""
    layers = evaluation.layers
    if layers is None or not any(value is not None for layer in layers.layers for value in layer.sqnr_db.values()):
        return html("")
    measured = [f for f in evaluation.all.main.artifacts if any(f in layer.sqnr_db for layer in layers.layers)]
    drawn = _alike({f: tuple(layer.sqnr_db.get(f) for layer in layers.layers) for f in measured})
    lowest = {
        position: min(values)
        for position, layer in enumerate(layers.layers)
        if (values := [value for value in layer.sqnr_db.values() if value is not None])
    }
    worst = sorted(lowest, key=lambda position: lowest[position])[:WORST]
    curves = {formats[0]: column for formats, column in drawn}
    heading = f"SQNR of {len(layers.layers)} tensors in network order, dB"
    chart = charts.profile(heading, [layer.tensor for layer in layers.layers], curves, worst)
    return section(
        "Along the network",
        html(
            "<p>Signal-to-quantization-noise ratio of every stored tensor against the float network, in network order, "
            "on {images} {noun}. 6 dB are one bit. A low value before a sigmoid or SiLU may cost little: "
            "what counts is what comes after.</p>",
            images=layers.images,
            noun="image" if layers.images == 1 else "images",
        ),
        charts.legend({formats[0]: _joined(formats) for formats, _ in drawn}, dots=True),
        _figure("", chart, "Up: dB. Across: position in the network. Numbered: the lowest, named below."),
        table(
            "The lowest",
            ["operator", *(f"{_joined(formats)}, dB" if len(drawn) > 1 else "dB" for formats, _ in drawn)],
            [
                (
                    f"{number}. {layers.layers[position].tensor}",
                    [layers.layers[position].op, *(_decibels(column[position]) for _, column in drawn)],
                )
                for number, position in enumerate(worst, 1)
            ],
        ),
    )


def section_runtimes(evaluation: Evaluation) -> Html:
    """Whether the artifacts say the same in their runtimes, and where they part."""
    crosses = [
        (
            _part(part) if len(part.heads) == 1 else f"{head.name}, {_part(part)}",
            [
                "" if cross.agreement is None else _cell(_percent(cross.agreement, 2)),
                _share(cross.identical, 2),
                f"{cross.max_abs_difference:.2g}",
            ],
        )
        for part in evaluation.parts
        for head in part.heads
        if (cross := head.cross_runtime)
    ]
    if not crosses:
        return html("")
    said = [html("<p>{line}.</p>", line=line[:1].upper() + line[1:]) for line in runtimes(evaluation)[1:]]
    parts = [*said, table("What they return", ["same answer", "equal outputs", "largest difference"], crosses)]
    layers = evaluation.layers
    if layers is not None and layers.own_differences:
        operators = [(op, [compared, differing]) for op, (differing, compared) in layers.own_differences.items()]
        caption = "Operators fed equal integers in both runtimes"
        parts.append(table(caption, ["compared", "differ"], operators))
    if layers is not None and any(layers.rebuilt.values()):
        exact = [format for format, is_exact in layers.rebuilt.items() if is_exact]
        parts.append(
            html(
                "<p>Rebuilt from the plan to the byte, so that this is said of the file itself: {exact}.</p>",
                exact=_joined(exact),
            )
        )
    return section("TFLite against ONNX", *parts)


def section_numbers(evaluation: Evaluation) -> Html:
    """Every metric of every head, on all images and on each subset."""
    return section("All numbers", *(_numbers(part, head) for part in evaluation.parts for head in part.heads))


def section_evidence(evaluation: Evaluation) -> Html:
    """On which images, of which files, with which versions."""
    data, bundle = evaluation.data, evaluation.bundle
    pairs: list[tuple[str, object]] = [
        ("Images", f"{data.source}: {_images(evaluation.all)}"),
        *((f"Subset {part.name}", _images(part)) for part in evaluation.parts[1:]),
        ("SHA-256 of the images", html("<code>{digest}</code>", digest=data.sha256)),
        ("SHA-256 of the bundle", html("<code>{digest}</code>", digest=bundle.sha256)),
        ("Measured with", ", ".join(f"{tool} {version}" for tool, version in evaluation.versions.items())),
    ]
    if data.skipped:
        pairs.append(("Skipped", f"{data.skipped:,} images that could not be read"))
    if data.unmatched_classes:
        names = ", ".join(data.unmatched_classes)
        pairs.append(("Not of the network's classes", f"{names}: {data.left_out:,} images, in no label metric"))
    if data.missing_classes:
        pairs.append(("Classes without images", ", ".join(data.missing_classes)))
    pairs += [("Note", note) for note in data.notes]
    return section("Evidence", facts(pairs))


def _bound(bound: Bound, main: HeadEvaluation) -> str:
    name = NAMES.get(bound.format, bound.format)
    if bound.name == "size":
        size, budget = format_size(int(bound.found or 0)), format_size(int(bound.limit))
        return f"{name}: {size} of {budget}, {_share((bound.found or 0) / bound.limit, 0)} of the budget"
    drop = main.artifacts[bound.format].drift.accuracy_drop
    if drop is None:
        return f"{name}: {bound.reason}"
    interval = "" if drop.ci95 is None else f" (95\N{NO-BREAK SPACE}% interval of the drop {_interval(drop.ci95, 2)})"
    verb = "drops" if drop.points >= 0 else "rises"
    text = f"{name}: accuracy {verb} by {abs(drop.points):.2f} points{interval}; the bound is {bound.limit:g}"
    if bound.reason:
        return f"{text}. {bound.reason[:1].upper()}{bound.reason[1:]}"
    if drop.ci95 and drop.ci95[0] < bound.limit < drop.ci95[1]:
        return f"{text}, inside the interval: other images could decide otherwise"
    return text


def _finding(head: HeadEvaluation) -> str:
    """The main numbers in a sentence."""
    sentences = []
    if head.reference.classes:
        now = [
            f"{NAMES.get(format, format)} {_share(result.metrics.classes.accuracy)}"
            for format, result in head.artifacts.items()
            if result.metrics.classes
        ]
        sentences.append(f"Accuracy: fp32 {_share(head.reference.classes.accuracy)}, {', '.join(now)}.")
    same = [
        f"{NAMES.get(format, format)} {_share(result.drift.agreement.value)}"
        for format, result in head.artifacts.items()
        if result.drift.agreement
    ]
    if same:
        sentences.append(f"Same answer as fp32: {', '.join(same)}.")
    return " ".join(sentences)


def _images(part: Part) -> str:
    noun = "image" if part.samples == 1 else "images"
    labelled = f"{part.main.labelled:,} of them labelled" if part.main.labelled else "none labelled"
    return f"{part.samples:,} {noun}, {'all labelled' if part.main.labelled == part.samples else labelled}"


def _whiskers(
    parts: Sequence[tuple[Part, HeadEvaluation]], key: str, factor: float, digits: int
) -> list[charts.Whisker]:
    found = []
    for part, head in parts:
        for format, result in head.artifacts.items():
            estimate: Drop | Estimate | None = getattr(result.drift, key)
            if estimate is None:
                continue
            value = estimate.points if isinstance(estimate, Drop) else factor * estimate.value
            ends = estimate.ci95 and (factor * estimate.ci95[0], factor * estimate.ci95[1])
            text = charts.signed(value, digits) + (f" ({_interval(ends, digits)})" if ends else "")
            name = "" if len(parts) == 1 else f", {_part(part)}"
            found.append(charts.Whisker(NAMES.get(format, format) + name, text, value, ends, format))
    return found


def _numbers(part: Part, head: HeadEvaluation) -> Html:
    (_, *models), lines = rows(head)
    caption = title(part, head)
    return table(
        f"{caption[:1].upper()}{caption[1:]}. Small: 95\N{NO-BREAK SPACE}% intervals.",
        models,
        [(name.strip(), [_cell(value) for value in values]) for name, *values in lines],
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


def _alike(found: Mapping[str, _T]) -> list[tuple[list[str], _T]]:
    """Formats and what they share, so that equal results are shown once."""
    groups: list[tuple[list[str], _T]] = []
    for format, value in found.items():
        formats = next((formats for formats, other in groups if other == value), None)
        if formats is None:
            groups.append(([format], value))
        else:
            formats.append(format)
    return groups


def _joined(formats: Sequence[str]) -> str:
    return " and ".join(NAMES.get(format, format) for format in formats)


def _named(heading: str, head: HeadEvaluation, several: bool) -> str:
    return f"{heading}: {head.name}" if several else heading


def _figure(heading: str, chart: Html, note: str) -> Html:
    return html(
        "<figure>\n{heading}{chart}{note}\n</figure>",
        heading=html("<h3>{text}</h3>\n", text=heading) if heading else "",
        chart=chart,
        note=html("\n<figcaption>{note}</figcaption>", note=note) if note else "",
    )


def _side_by_side(tables: Sequence[Html]) -> Html:
    return html('<div class="charts">\n{tables}\n</div>', tables=join(tables))


def _cell(text: str) -> Html:
    """A number with its interval below it."""
    value, _, interval = text.replace("-", "\N{MINUS SIGN}").partition(" (")
    small = html("<small>{text}</small>", text=interval.removesuffix(")")) if interval else ""
    return html("{value}{small}", value=value, small=small)


def _share(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _percent(estimate: Estimate, digits: int) -> str:
    ends = estimate.ci95 and (100 * estimate.ci95[0], 100 * estimate.ci95[1])
    return _share(estimate.value, digits) + (f" ({_interval(ends, digits)})" if ends else "")


def _part(part: Part) -> str:
    return "all images" if part.name == "all" else part.name


def _interval(ends: Interval, digits: int) -> str:
    return f"{charts.signed(ends[0], digits)} to {charts.signed(ends[1], digits)}"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"


_DRIFTS: dict[str, tuple[str, str, float, float, int]] = {
    "accuracy_drop": ("Accuracy lost", "Percentage points, paired; left of 0 the artifact is better.", 0, 1, 2),
    "ccc_drop": ("Concordance lost", "Mean CCC, fp32 less int8.", 0, 1, 4),
    "f1_drop": ("F1 lost", "Mean over action units, fp32 less int8.", 0, 1, 4),
    "agreement": ("Same answer as fp32", "Per cent of answers.", 100, 100, 1),
    "majority_accuracy_drop": ("Accuracy lost against the raters' majority", "Percentage points, paired.", 0, 1, 2),
    "kl": ("Divergence from fp32", "KL(fp32 || int8), in thousandths of a nat; 0 is no change.", 0, 1000, 2),
}
"""By the drift's attribute: heading, what the scale is, what it must reach, factor and decimals."""
