"""The page that `aggregate` writes, for those who ask how an audience reacted and want no statistics to get there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.host.text import counted
from edgefer.report.markup import Html, facts, figure, html, join, page, section, table
from edgefer.report.ribbons import Ribbon, ribbons
from edgefer.timeline.aggregate import FEWEST_VIEWERS, Aggregate, Estimate
from edgefer.timeline.observed import Floats

LEFT_OUT = 20
"""Viewers that are listed."""
SIGNED = ("valence", "arousal")
"""Scores that go from -1 to 1."""


def aggregate_report(title: str, found: Aggregate) -> str:
    """One HTML document about an audience; equal results give equal documents.

    Args:
        title: what the audience saw.
        found: what it showed.
    """
    sections = (
        _verdict(title, found),
        _curves(found),
        _shares(found),
        _peaks(found),
        _parts(found),
        _who(found),
    )
    notice = (
        "In the European Union it is forbidden to infer emotions of people at work or in education (AI Act, Art. 5), "
        "and people who are exposed to emotion recognition must be told (Art. 50)."
    )
    body = html(
        "<main>\n{sections}\n</main>\n<footer><p>{notice}</p></footer>",
        sections=join(part for part in sections if part),
        notice=notice,
    )
    return page(f"{title}: how the audience reacted", body)


def _verdict(title: str, found: Aggregate) -> Html:
    moving = max(found.curves, key=lambda curve: float(np.ptp(_known(_unit(curve.score, curve.mean)))))
    top = int(np.nanargmax(moving.mean))
    lines = [
        f"What changed most is {moving.score!r}: it is highest {_clock(float(found.times[top]))} in, at "
        f"{moving.mean[top]:.2f} on average, {_range(moving.score)} (between {moving.low[top]:.2f} and "
        f"{moving.high[top]:.2f}, with 95 % certainty).",
        f"{counted(len(found.left_out), 'viewer')} could not be counted: the face was hidden for too long."
        if found.left_out
        else "Every viewer counts.",
    ]
    return html(
        '<header>\n<p class="kicker">Audience</p>\n<h1>{title}</h1>\n</header>\n'
        '<div class="verdict"><strong>{head}</strong>{lines}</div>',
        title=title,
        head=f"{counted(len(found.counted), 'viewer')}, {_clock(len(found.times) * found.bin_s)}.",
        lines=join((html("<p>{line}</p>", line=line) for line in lines), ""),
    )


def _curves(found: Aggregate) -> Html:
    rows = [
        Ribbon(
            curve.score,
            f"mean {np.nanmean(curve.mean):.2f}",
            _unit(curve.score, curve.mean),
            low=_unit(curve.score, curve.low),
            high=_unit(curve.score, curve.high),
        )
        for curve in found.curves
    ]
    signed = [curve.score for curve in found.curves if curve.score in SIGNED]
    note = (
        f"How strongly the audience showed each, on average, from 0 to 1{_signed(signed)}. The darker band is "
        f"where the true average lies with 95 % certainty. Times with fewer than "
        f"{FEWEST_VIEWERS} visible faces are left blank."
    )
    return section("What the audience showed", figure("", ribbons("Average scores over time", found.times, rows), note))


def _shares(found: Aggregate) -> Html:
    shown = [curve for curve in found.curves if curve.score not in (*SIGNED, "neutral")]
    rows = [
        Ribbon(
            curve.score,
            f"at most {100 * np.nanmax(curve.share):.0f} %",
            curve.share,
            low=curve.share_low,
            high=curve.share_high,
        )
        for curve in shown
    ]
    note = f"Share of viewers whose score was at least {found.threshold:g}, from none to all."
    return section("How many of them", figure("", ribbons("Share of viewers over time", found.times, rows), note))


def _peaks(found: Aggregate) -> Html:
    rows = [(peak.score, [_clock(peak.time_s), f"{peak.mean:.2f}"]) for peak in found.peaks]
    if not rows:
        return section("When most", html("<p>No score stands out at any moment.</p>"))
    return section("When most", table("Moments that stand out, the highest first.", ["when", "mean"], rows))


def _parts(found: Aggregate) -> Html:
    if not found.parts:
        return html("")
    names = [each.score for each in next((part for part in found.parts if part.scores), found.parts[0]).scores]
    rows = [
        (
            f"{part.name} ({_clock(part.start_s)} to {_clock(part.end_s)})",
            [_cell(each) for each in part.scores] or [html("too few viewers")],
        )
        for part in found.parts
    ]
    return section("Part by part", table("Mean scores. Small: 95 % intervals.", names, rows))


def _who(found: Aggregate) -> Html:
    told = facts(
        [
            ("counted", counted(len(found.counted), "viewer")),
            ("left out", counted(len(found.left_out), "viewer")),
            ("averaged over", f"{found.bin_s:g} s"),
        ]
    )
    if not found.left_out:
        return section("Who was counted", told)
    why = html("<h3>Viewers that were left out</h3>\n{why}", why=facts(found.left_out[:LEFT_OUT]))
    return section("Who was counted", told, why)


def _cell(estimate: Estimate) -> Html:
    ends = "" if estimate.low is None or estimate.high is None else f"{estimate.low:.2f} to {estimate.high:.2f}"
    return html("{mean:.2f}<small>{ends}</small>", mean=estimate.mean, ends=ends)


def _unit(score: str, values: Floats) -> Floats:
    """Brought to 0 to 1."""
    return (values + 1) / 2 if score in SIGNED else values


def _range(score: str) -> str:
    return "from -1 to 1" if score in SIGNED else "from 0 to 1"


def _signed(scores: Sequence[str]) -> str:
    return f" ({' and '.join(scores)} from -1 to 1)" if scores else ""


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _clock(seconds: float) -> str:
    """`42.5 s`, `1:05 min`."""
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 60 else f"{whole // 60}:{whole % 60:02d} min"
