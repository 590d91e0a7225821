"""The report that `evaluate` writes: do the bounds hold, what moved, for whom, and where in the network."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from edgefer.evaluation.head_metrics import Drop, Estimate, Interval
from edgefer.evaluation.results import Bound, Evaluation, HeadEvaluation, Part
from edgefer.evaluation.scores import FALSE_POSITIVE_RATE
from edgefer.evaluation.summary import NAMES, Row, abaw_rows, abaw_title, alike, joined, rows, runtimes, title
from edgefer.host.text import counted
from edgefer.host.units import format_size
from edgefer.images import ImageSet
from edgefer.report import charts
from edgefer.report.changes import section_changes
from edgefer.report.classes import section_confusion, section_flips, section_labels, section_reliability
from edgefer.report.conversion import Manifest
from edgefer.report.markup import Html, facts, figure, html, join, section, side_by_side, table
from edgefer.spec import Spec

WORST = 8
"""Tensors that are named."""


def sections_drift(manifest: Manifest, evaluation: Evaluation, images: ImageSet | None = None) -> list[Html]:
    """What was found, from the drift of each head to all numbers; empty where there is no data for a section.

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
        figure(
            heading,
            charts.whiskers(
                heading,
                found,
                origin=origin,
                highest=_HIGHEST.get(key, inf),
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
    return section(name, side_by_side(figures))


def section_network(evaluation: Evaluation) -> Html:
    """Signal-to-noise ratio of every stored tensor, the worst named."""
    layers = evaluation.layers
    if layers is None or not any(value is not None for layer in layers.layers for value in layer.sqnr_db.values()):
        return html("")
    measured = [f for f in evaluation.all.main.artifacts if any(f in layer.sqnr_db for layer in layers.layers)]
    drawn = alike({f: tuple(layer.sqnr_db.get(f) for layer in layers.layers) for f in measured})
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
            "on {images}. 6 dB are one bit. A low value before a sigmoid or SiLU may cost little: "
            "what counts is what comes after.</p>",
            images=counted(layers.images, "image"),
        ),
        charts.legend({formats[0]: joined(formats) for formats, _ in drawn}, dots=True),
        figure("", chart, "Up: dB. Across: position in the network. Numbered: the lowest, named below."),
        table(
            "The lowest",
            ["operator", *(f"{joined(formats)}, dB" if len(drawn) > 1 else "dB" for formats, _ in drawn)],
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
                exact=joined(exact),
            )
        )
    return section("TFLite against ONNX", *parts)


def section_numbers(evaluation: Evaluation) -> Html:
    """Every metric of every head, on all images and on each subset."""
    tables = []
    for part in evaluation.parts:
        tables += [_numbers(title(part, head), *rows(head)) for head in part.heads]
        if part.abaw is not None:
            tables.append(_numbers(abaw_title(part), *abaw_rows(part)))
    return section("All numbers", *tables)


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
    labelled = f"{part.main.labelled:,} of them labelled" if part.main.labelled else "none labelled"
    return f"{counted(part.samples, 'image')}, {'all labelled' if part.main.labelled == part.samples else labelled}"


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


def _numbers(caption: str, header: Row, lines: Sequence[Row]) -> Html:
    return table(
        f"{caption[:1].upper()}{caption[1:]}. Small: 95\N{NO-BREAK SPACE}% intervals.",
        header[1:],
        [(name.strip(), [_cell(value) for value in values]) for name, *values in lines],
    )


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


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"


_DRIFTS: dict[str, tuple[str, str, float, float, int]] = {
    "accuracy_drop": ("Accuracy lost", "Percentage points, paired; left of 0 the artifact is better.", 0, 1, 2),
    "ccc_drop": ("Concordance lost", "Mean CCC, fp32 less int8.", 0, 1, 4),
    "f1_drop": ("F1 lost", "Mean over action units, fp32 less int8.", 0, 1, 4),
    "tuned_f1_drop": (
        "F1 lost, thresholds of the other half",
        "Mean over action units, fp32 less int8, where fp32 chose the thresholds.",
        0,
        1,
        4,
    ),
    "smile_recall_drop": (
        f"Smiles lost at {100 * FALSE_POSITIVE_RATE:g}\N{NO-BREAK SPACE}% false positives",
        "Percentage points of recall, paired.",
        0,
        100,
        2,
    ),
    "agreement": ("Same answer as fp32", "Per cent of answers.", 100, 100, 1),
    "cosine_similarity": ("Cosine similarity to fp32", "Mean over images; 1 is no change.", 1, 1, 4),
    "neighbour_agreement": (
        "Same nearest neighbour as fp32",
        "Per cent of images, each among the others.",
        100,
        100,
        1,
    ),
    "majority_accuracy_drop": ("Accuracy lost against the raters' majority", "Percentage points, paired.", 0, 1, 2),
    "kl": ("Divergence from fp32", "KL(fp32 || int8), in thousandths of a nat; 0 is no change.", 0, 1000, 2),
}
"""By the drift's attribute: heading, what the scale is, what it must reach, factor and decimals."""

_HIGHEST = {"agreement": 100, "neighbour_agreement": 100, "cosine_similarity": 1}
