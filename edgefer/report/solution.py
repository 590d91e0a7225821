"""What there was to choose among: channels removed round by round, four-bit weights, parts in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any, NamedTuple

from edgefer.report import charts
from edgefer.report.markup import Html, facts, figure, html, join, section, side_by_side, table

NAMES_SHOWN = 40
POINTS_SHOWN = 12


def section_solution(manifest: Mapping[str, Any]) -> Html:
    """Which ways to mix int8, float and 4-bit weights were weighed, and which was chosen; empty where none were."""
    solution = manifest.get("solution")
    if solution is None:
        return html("")
    points = solution["points"]
    return section(
        "Size, drop and latency",
        _weighed_sentence(solution, manifest["quantization"]["learned_steps"]),
        _missed_sentence(solution),
        *((frontier_charts(manifest), _points_table(points)) if len(points) > 1 or "rounds" in manifest else ()),
        facts(_chosen_facts(points)),
    )


def drop_sentence(solution: Mapping[str, Any]) -> str:
    """Whether the allowed drop is kept, in the headline."""
    expected = f"{_drop(_chosen(solution['points'])['drop'])} expected"
    name = f"The allowed drop of {_points(solution['max_drop'])}"
    if solution["drop_over"] > 0:
        return f"{name} does not hold: {expected}, {_distance(solution['drop_over'])} over."
    return f"{name} holds: {expected}."


def latency_sentence(latency: Mapping[str, Any]) -> str:
    """Whether the bound on latency is kept, in the headline."""
    share = latency["expected"] / latency["allowed"]
    return (
        f"The latency of {latency['asked']} {'holds' if share <= 1 else 'does not hold'}: {100 * share:.1f} % of it is "
        f"expected, by what operators cost on {latency['costs_of']}."
    )


class _Choice(NamedTuple):
    """A network that could have been had; NaN is not known.

    Attributes:
        name: what it is.
        latency: times full int8 of the network as it was.
        is_chosen: whether the artifacts are it.
    """

    name: str
    latency: float
    sqnr_db: float
    drop: float
    bytes: float
    is_chosen: bool


class _Measure(NamedTuple):
    name: str
    unit: str
    more_is_better: bool
    values: Sequence[float]
    reached: Sequence[float]
    bound: float | None


def _weighed_sentence(solution: Mapping[str, Any], learned: int) -> Html:
    count = len(solution["points"])
    ways = (
        f"{count} ways to mix int8, float and 4-bit weights were weighed; the first is full int8."
        if count > 1
        else "Only full int8 was weighed: nothing else was allowed, or worth its time."
    )
    return html(
        "<p>{ways} Latency is in times full int8, by what operators cost on {machine}{latency}. "
        "Drop is the loss of accuracy to expect, in percentage points: an estimate from the float network's own "
        "probabilities on held-back images, without labels.{flattered}{learned}</p>",
        ways=ways,
        flattered=" They chose among the points too, so figures flatter the chosen one: evaluate it on others."
        if any(point["float"] for point in solution["points"])
        else "",
        learned=" Weights were learned for the chosen way alone." if learned else "",
        latency="" if solution["max_latency"] is None else f", and may be {solution['max_latency']:.4g}",
        machine=solution["costs_of"],
    )


def _missed_sentence(solution: Mapping[str, Any]) -> Html:
    """How far from the bounds the chosen point is; empty where it keeps them."""
    bytes_over, drop_over, max_drop = solution["bytes_over"], solution["drop_over"], solution["max_drop"]
    if not bytes_over and not drop_over:
        return html("")
    size = f"is {bytes_over:,} bytes over the budget" if bytes_over else "keeps the budget"
    size = f"{size} of {solution['budget_bytes'] / 1e6:.2f} MB"
    if max_drop is None:
        drop = "no bound was set for its drop"
    elif drop_over:
        drop = f"its drop is {_distance(drop_over)} over the allowed {_points(max_drop)}"
    else:
        drop = f"its drop is within the allowed {_points(max_drop)}"
    return html("<p>No point keeps every bound: the chosen one {size}, and {drop}.</p>", size=size, drop=drop)


def frontier_charts(manifest: Mapping[str, Any]) -> Html:
    """Over latency: signal to noise, drop, and size where it differs, of all rounds and points of a bundle."""
    rounds, solution = manifest.get("rounds", []), manifest.get("solution")
    choices = [*_of_rounds(rounds, solution is None), *_of_points(rounds, solution)]
    of_rounds = rounds[-1]["latency"] if rounds else 1.0
    allowed = solution and solution["max_latency"] and of_rounds * solution["max_latency"]
    if (bound := manifest.get("latency")) is not None:
        allowed = bound["allowed"] / bound["whole"]
    max_drop = solution and solution["max_drop"]
    across = charts.widened([*(choice.latency for choice in choices), *([allowed] if allowed else [])])
    measures = [
        _Measure("Signal to quantization noise", "dB at the heads", True, [c.sqnr_db for c in choices], (), None),
        _Measure("Expected drop", "percentage points", False, [c.drop for c in choices], (0.0,), max_drop),
    ]
    if len({choice.bytes for choice in choices}) > 1:
        sizes, budget = [choice.bytes / 1e6 for choice in choices], manifest["budget_bytes"] / 1e6
        measures.append(_Measure("Size", "MB of the largest int8 file", False, sizes, (), budget))
    costs_of = solution["costs_of"] if solution else manifest["quantization"]["shrunk"]["costs_of"]
    figures = [_figure(measure, choices, across, allowed, costs_of) for measure in measures]
    return html(
        "{figures}\n{note}",
        figures=side_by_side(figures),
        note=html("<p>Rounds of removing channels are measured in float: int8 adds its noise to the last of them.</p>")
        if rounds
        else "",
    )


def _figure(
    measure: _Measure, choices: Sequence[_Choice], across: charts.Scale, allowed: float | None, costs_of: str
) -> Html:
    spots = [
        charts.Spot(choice.name, choice.latency, value, choice.is_chosen)
        for choice, value in zip(choices, measure.values, strict=True)
        if isfinite(value)
    ]
    if not spots:
        return html("")
    (chosen,) = (choice for choice in choices if choice.is_chosen)
    chart = charts.frontier(
        f"{measure.name} over latency",
        f"{len(spots)} points. Chosen: {chosen.name}.",
        sorted(spots, key=lambda spot: spot.x),
        across=across,
        origin=1.0,
        more_is_better=measure.more_is_better,
        bound_across=allowed,
        reached=measure.reached,
        bound_upward=measure.bound,
    )
    note = (
        f"Up: {measure.unit}; {'more' if measure.more_is_better else 'less'} is better. "
        f"Across: latency, times full int8, by what operators cost on {costs_of}. "
        "The line is the best up to each latency."
    )
    return figure(measure.name, chart, note)


def _of_rounds(rounds: Sequence[Mapping[str, Any]], are_all: bool) -> list[_Choice]:
    return [
        _Choice(
            f"round {number} of removing channels, {each['parameters'] / 1e6:.2f} M parameters, in float",
            each["latency"],
            nan if each["sqnr_db"] is None else each["sqnr_db"],
            each["drop"],
            each["bytes"],
            are_all and number == len(rounds),
        )
        for number, each in enumerate(rounds, 1)
    ]


def _of_points(rounds: Sequence[Mapping[str, Any]], solution: Mapping[str, Any] | None) -> list[_Choice]:
    if solution is None:
        return []
    left = rounds[-1]["latency"] if rounds else 1.0
    return [
        _Choice(
            _summary(number, point),
            left * point["latency"],
            nan if point["sqnr_db"] is None else point["sqnr_db"],
            point["drop"],
            point["bytes"],
            point["chosen"],
        )
        for number, point in enumerate(solution["points"], 1)
    ]


def _points_table(points: Sequence[Mapping[str, Any]]) -> Html:
    """All points, or of many the first, the last and those around the chosen one."""
    chosen, last = points.index(_chosen(points)), len(points) - 1
    shown: Sequence[int] = range(len(points))
    if len(points) > POINTS_SHOWN:
        shown = sorted({0, last, *range(max(chosen - 2, 0), min(chosen + 2, last) + 1)})
    rows = [
        (
            _row_name(index + 1, points[index]),
            [
                f"{points[index]['latency']:.3f}",
                _sqnr(points[index]),
                charts.signed(points[index]["drop"], 2),
                f"{points[index]['bytes']:,}",
                len(points[index]["float"]),
                len(points[index]["int4"]),
            ],
        )
        for index in shown
    ]
    caption = "All points" if len(rows) == len(points) else f"{len(rows)} of {len(points)} points"
    head = ["Latency", "SQNR, dB", "Drop, points", "Bytes", "Float units", "4-bit layers"]
    return table(f"{caption}, from the fastest", head, rows)


def _row_name(number: int, point: Mapping[str, Any]) -> Html:
    name = f"{number}, full int8" if number == 1 else f"{number}"
    return html('<span class="chosen">{name}, chosen</span>', name=name) if point["chosen"] else html("{n}", n=name)


def _chosen_facts(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, object]]:
    """The chosen point in words, and which parts of the network it makes an exception for."""
    point = _chosen(points)
    pairs: list[tuple[str, object]] = [("Chosen", _summary(points.index(point) + 1, point))]
    for name, key in (("Units in float", "float"), ("Layers in 4 bits", "int4")):
        names = [html("<code>{name}</code>", name=name) for name in point[key][:NAMES_SHOWN]]
        if (more := len(point[key]) - NAMES_SHOWN) > 0:
            names.append(html("and {more:,} more in manifest.json", more=more))
        pairs.append((name, join(names, ", ") if names else "none"))
    return pairs


def _summary(number: int, point: Mapping[str, Any]) -> str:
    """A point in one line."""
    sqnr = _sqnr(point) if point["sqnr_db"] is None else f"{_sqnr(point)} dB"
    return (
        f"point {number}, {point['latency']:.3f} times full int8, {sqnr}, "
        f"drop {_drop(point['drop'])}, {point['bytes']:,} bytes"
    )


def _chosen(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(point for point in points if point["chosen"])


def _sqnr(point: Mapping[str, Any]) -> str:
    return "no noise" if point["sqnr_db"] is None else charts.signed(point["sqnr_db"], 1)


def _drop(drop: float) -> str:
    return f"{charts.signed(drop, 2)} points"


def _points(bound: float) -> str:
    return f"{bound:g} point" if bound == 1 else f"{bound:g} points"


def _distance(drop: float) -> str:
    """How far a drop is over its bound, which is never shown as nothing."""
    return f"{drop:.2f}" if drop >= 0.005 else f"{drop:.1g}"
