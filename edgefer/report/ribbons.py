"""Scores over time as a ribbon for each: how high it stands is the score, and what counts as an event is darker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from edgefer.report.charts import TEXT, Scale, ticks
from edgefer.report.markup import Html, html, join

POINTS = 480
"""Across; more frames are drawn by their mean."""
_HEIGHT = 34
_UNITS = 1000  # across, in the picture's own coordinates, which stretch to the page's width


@dataclass(frozen=True, eq=False)
class Ribbon:
    """One score over time.

    Attributes:
        label: its name.
        text: what is told beside it.
        values: 0 to 1, (n,), NaN where nothing is known.
        low: 5 % of all values may be lower, (n,), drawn as a band with `high`; None for no band.
        high: the same upwards.
        events: begin and end of each, in seconds.
    """

    label: str
    text: str
    values: npt.NDArray[np.float64]
    events: Sequence[tuple[float, float]] = ()
    low: npt.NDArray[np.float64] | None = None
    high: npt.NDArray[np.float64] | None = None


def ribbons(title: str, times: npt.NDArray[np.float64], rows: Sequence[Ribbon]) -> Html:
    """All rows below each other over one axis of seconds.

    Args:
        title: what the chart shows, for those who cannot see it.
        times: seconds, rising, (n,).
        rows: from top to bottom.
    """
    first, last = float(times[0]), max(float(times[-1]), float(times[0]) + 1e-3)
    scale = Scale(first, last)
    step = TEXT + 10 + _HEIGHT
    parts = []
    for place, row in enumerate(rows):
        top = place * step
        parts.append(
            html(
                '<text class="label" x="0" y="{y}">{label}</text><text class="value" x="100%" y="{y}">{text}</text>',
                y=top + TEXT,
                label=row.label if len(row.label) <= 30 else f"{row.label[:29]}\N{HORIZONTAL ELLIPSIS}",
                text=row.text,
            )
        )
        parts.append(_ribbon(scale, times, row, top + TEXT + 6))
    bottom = step * len(rows)
    axis = (
        html(
            '<text class="axis" x="{x:.2f}%" y="{y}">{tick:g}\N{NO-BREAK SPACE}s</text>',
            x=scale.percent(tick),
            y=bottom + TEXT,
            tick=tick,
        )
        for tick in ticks(scale, 6)
        if 2 < scale.percent(tick) < 98
    )
    return html(
        '<svg class="chart" role="img" width="100%" height="{height}">\n<title>{title}</title>\n{parts}\n</svg>',
        height=bottom + TEXT + 6,
        title=title,
        parts=join([*parts, *axis]),
    )


def _ribbon(scale: Scale, times: npt.NDArray[np.float64], row: Ribbon, top: int) -> Html:
    across, values = _thinned(times, row.values)
    x = np.array([scale.percent(time) for time in across]) * _UNITS / 100
    known = ~np.isnan(values)
    parts = []
    for is_known, group in groupby(range(len(values)), key=lambda index: bool(known[index])):
        if is_known:
            here = list(group)
            parts.append(html('<path class="area" d="{d}"/>', d=_area(x[here], values[here], np.zeros(len(here)))))
    if row.low is not None and row.high is not None:
        low, high = (_thinned(times, side)[1] for side in (row.low, row.high))
        inside = np.flatnonzero(known)
        if len(inside):
            parts.append(html('<path class="between" d="{d}"/>', d=_area(x[inside], high[inside], low[inside])))
    for begin, end in row.events:
        left, right = (scale.percent(time) * _UNITS / 100 for time in (begin, end))
        parts.append(
            html(
                '<rect class="event" x="{x:.1f}" y="{y}" width="{width:.1f}" height="4"/>',
                x=left,
                y=_HEIGHT - 4,
                width=max(right - left, 1.5),
            )
        )
    return html(
        '<rect class="track" y="{top}" width="100%" height="{height}"/>'
        '<svg y="{top}" width="100%" height="{height}" viewBox="0 0 {units} {height}" preserveAspectRatio="none">'
        "{parts}</svg>",
        top=top,
        height=_HEIGHT,
        units=_UNITS,
        parts=join(parts, ""),
    )


def _area(x: npt.NDArray[np.float64], upper: npt.NDArray[np.float64], lower: npt.NDArray[np.float64]) -> str:
    """A closed path between two lines; one point is drawn as a thin bar."""
    if len(x) == 1:
        x, upper, lower = x + np.array([-0.5, 0.5]), upper.repeat(2), lower.repeat(2)
    there = [f"{a:.1f} {_y(b):.1f}" for a, b in zip(x, upper, strict=True)]
    back = [f"{a:.1f} {_y(b):.1f}" for a, b in zip(x[::-1], lower[::-1], strict=True)]
    return f"M{'L'.join(there)}L{'L'.join(back)}Z"


def _y(value: float) -> float:
    return _HEIGHT * (1 - min(max(value, 0.0), 1.0))


def _thinned(
    times: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """At most `POINTS` points: means over stretches of equally many frames; unknown where most of a stretch is."""
    if len(times) <= POINTS:
        return times, values
    edges = np.linspace(0, len(times), POINTS + 1).astype(int)
    parts = [slice(a, b) for a, b in pairwise(edges) if b > a]
    means = [values[p][~np.isnan(values[p])].mean() if np.isnan(values[p]).mean() <= 0.5 else np.nan for p in parts]
    return np.array([times[p].mean() for p in parts]), np.array(means)
