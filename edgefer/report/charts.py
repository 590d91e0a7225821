"""Charts as SVG without scripts.

Positions across are percentages, so that a chart takes the width it is given and its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, floor, inf, log10, sqrt

from edgefer.evaluation.head_metrics import Bin, Interval
from edgefer.report.markup import Html, html, join

TEXT = 14
"""Height of a line of text, px."""


@dataclass(frozen=True)
class Whisker:
    """A number and its interval in a chart of `whiskers`.

    Attributes:
        label: what it is the number of.
        text: the number as people read it.
        value: where its mark is.
        interval: where its whiskers end, None for no whiskers.
        series: `fp32`, `tflite` or `onnx`; decides colour and shape of the mark.
    """

    label: str
    text: str
    value: float
    interval: Interval | None
    series: str


@dataclass(frozen=True)
class Lane:
    """One name in a chart of `lanes`: what the reference has and what each artifact has.

    Attributes:
        label: the name.
        text: the numbers as people read them.
        reference: None where it has no number.
        values: by series.
    """

    label: str
    text: str
    reference: float | None
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Spot:
    """A choice in a chart of `frontier`.

    Attributes:
        name: shown where it is pointed at.
        x: what it costs.
        y: what is measured of it.
        is_chosen: whether it stands out.
    """

    name: str
    x: float
    y: float
    is_chosen: bool = False


@dataclass(frozen=True)
class Scale:
    """A range of values, as a percentage of the way from its low to its high end."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        """Where a value is, 0 to 100."""
        return 100 * (value - self.low) / (self.high - self.low)


def whiskers(
    title: str,
    rows: Sequence[Whisker],
    *,
    origin: float = 0.0,
    highest: float = inf,
    bound: float | None = None,
) -> Html:
    """A dot with whiskers for each row, all on one scale.

    Args:
        title: what the chart shows, for those who cannot see it.
        rows: from top to bottom.
        origin: a value that the scale must reach.
        highest: there is nothing above it.
        bound: marked by a dashed line.
    """
    ends = [end for row in rows for end in (row.value, *(row.interval or ()))]
    scale = widened([*ends, origin, *([] if bound is None else [bound])])
    scale = Scale(scale.low, min(scale.high, highest))
    top, step = (TEXT + 6 if bound is not None else 0), 44
    bottom = top + step * len(rows)
    marks = (_whisker(scale, row, top + step * index) for index, row in enumerate(rows))
    limit = html("") if bound is None else _limit(scale, bound, bottom)
    return _svg(title, bottom + TEXT + 6, _across(scale, top, bottom, origin), limit, join(marks))


def lanes(title: str, rows: Sequence[Lane], scale: Scale) -> Html:
    """For each row a tick where the reference is, and the artifacts' marks on lanes of their own below each other."""
    count = max(len(row.values) for row in rows)
    step = TEXT + 22 + 11 * count
    bottom = step * len(rows)
    marks = (_lane(scale, row, step * index) for index, row in enumerate(rows))
    return _svg(title, bottom + TEXT + 6, _across(scale, 0, bottom, scale.low), join(marks))


def reliability(title: str, curves: Mapping[str, Sequence[Bin]], height: int = 240) -> Html:
    """Accuracy over confidence; the area of a dot tells how many images are in its bin, the diagonal is ideal."""
    scale, largest = Scale(0, 1), max((b.count for bins in curves.values() for b in bins), default=1)
    ideal = html('<line class="ideal" x1="0%" x2="100%" y1="{height}" y2="0"/>', height=height)
    parts = []
    for series, bins in curves.items():
        points = [
            (100 * b.confidence, height * (1 - b.accuracy), 1.5 + 7 * sqrt(b.count / largest))
            for b in bins
            if b.confidence is not None and b.accuracy is not None
        ]
        parts += [_line(f"curve {series}", x1, y1, x2, y2) for (x1, y1, _), (x2, y2, _) in pairwise(points)]
        parts += [_dot(series, x, y, r) for x, y, r in points]
    axes = (_across(scale, 0, height, 0), _upward(scale, height))
    return _svg(title, height + TEXT + 6, *axes, ideal, join(parts), framed=True)


def curves(
    title: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    dots: Sequence[tuple[str, float, float]] = (),
    *,
    across: Scale | None = None,
    upward: Scale | None = None,
    height: int = 200,
) -> Html:
    """Points joined by straight lines.

    Args:
        title: what the chart shows.
        lines: a series, and its points (x, y) from left to right.
        dots: a series, x and y of points that stand out.
        across: the horizontal scale; what the points need when None.
        upward: the vertical scale.
        height: of the plot, px.
    """
    across = across or widened([x for _, points in lines for x, _ in points], margin=0.0)
    upward = upward or widened([y for _, points in lines for _, y in points])
    parts = [
        _line(f"curve {series}", across.percent(x1), _y(upward, y1, height), across.percent(x2), _y(upward, y2, height))
        for series, points in lines
        for (x1, y1), (x2, y2) in pairwise(points)
    ]
    parts += [_dot(series, across.percent(x), _y(upward, y, height), 4) for series, x, y in dots]
    axes = (_across(across, 0, height, across.low), _upward(upward, height))
    return _svg(title, height + TEXT + 6, *axes, join(parts), framed=True)


def profile(
    title: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    numbered: Sequence[int] = (),
    height: int = 240,
) -> Html:
    """Decibels of each tensor, in network order.

    Args:
        title: what the chart shows.
        names: one per position.
        series: values per position, None for nothing to show.
        numbered: positions that get the numbers 1, 2, ... beside their lowest mark.
        height: of the plot, px.
    """
    values = [value for column in series.values() for value in column if value is not None]
    scale, along = widened([*values, 0.0], margin=0.02), Scale(0, len(names) + 1)

    def y(value: float) -> float:
        return height * (1 - scale.percent(value) / 100)

    dots = [
        html(
            '<circle class="dot {series}" cx="{x:.2f}%" cy="{y:.1f}" r="2.5">'
            "<title>{name}: {value:.1f} dB</title></circle>",
            series=one,
            x=along.percent(position + 1),
            y=y(value),
            name=name,
            value=value,
        )
        for one, column in series.items()
        for position, (name, value) in enumerate(zip(names, column, strict=True))
        if value is not None
    ]
    numbers = []
    for number, position in enumerate(numbered, 1):
        lowest = min(v for column in series.values() if (v := column[position]) is not None)
        x = along.percent(position + 1)
        numbers.append(
            html('<text class="number" x="{x:.2f}%" y="{y:.1f}" dx="5" dy="4">{n}</text>', x=x, y=y(lowest), n=number)
        )
    axes = (_along(len(names), along, height), _upward(scale, height))
    return _svg(title, height + TEXT + 6, *axes, join(dots), join(numbers), framed=True)


def frontier(
    title: str,
    description: str,
    spots: Sequence[Spot],
    *,
    across: Scale,
    origin: float,
    more_is_better: bool,
    bound_across: float | None = None,
    reached: Sequence[float] = (),
    bound_upward: float | None = None,
    height: int = 220,
) -> Html:
    """Choices from the cheapest to the dearest, one of them chosen, and a line at the best of those up to each cost.

    The words in the plot have strips of their own above and below all spots.

    Args:
        title: what the chart shows.
        description: its message, for those who cannot see it.
        spots: the choices, from left to right.
        across: the horizontal scale.
        origin: a value across that is drawn as an axis.
        more_is_better: whether the best is the highest.
        bound_across: marked by a dashed line.
        reached: values that the vertical scale must reach.
        bound_upward: marked by a dashed line.
        height: of the plot, px.
    """
    strip = TEXT + 10
    limits = [] if bound_upward is None else [bound_upward]
    scale = widened([*(spot.y for spot in spots), *reached, *limits], margin=0.0)
    unit = (scale.high - scale.low) / (height - 2 * strip)
    upward = Scale(scale.low - strip * unit, scale.high + strip * unit)
    points = [(across.percent(spot.x), _y(upward, spot.y, height)) for spot in spots]
    bests = accumulate((y for _, y in points), min if more_is_better else max)  # px grow downwards
    steps = [(x, best) for (x, _), best in zip(points, bests, strict=True)]
    parts = [_step("curve plain thin", here, there) for here, there in pairwise(steps)]
    parts += [_spot(spot, x, y, height) for spot, (x, y) in zip(spots, points, strict=True)]
    axes = (_across(across, 0, height, origin), _upward(upward, height))
    bounds = [] if bound_across is None else [_limit(across, bound_across, height)]
    bounds += [_ceiling(points, _y(upward, limit, height), limit) for limit in limits]
    return _svg(title, height + TEXT + 6, *axes, *bounds, join(parts), framed=True, description=description)


def legend(names: Mapping[str, str], *, dots: bool = False) -> Html:
    """Which mark is whose: names by series; `dots` where the chart has nothing else."""
    items = (
        html(
            '<li><svg width="14" height="14" aria-hidden="true">{mark}</svg> {name}</li>',
            mark=_dot(series, 50, 7, 5) if dots else _mark(series, 50, 7),
            name=name,
        )
        for series, name in names.items()
    )
    return html('<ul class="legend">\n{items}\n</ul>', items=join(items))


def widened(values: Iterable[float], margin: float = 0.05) -> Scale:
    """A scale that holds all values with some room at both ends; values that are all but equal get room too."""
    found = list(values)
    low, high = min(found), max(found)
    is_spread = high - low > 1e-9 * max(1.0, abs(low), abs(high))
    room = margin * (high - low) if is_spread else 1.0
    return Scale(low - room, high + room)


def ticks(scale: Scale, most: int = 6) -> tuple[float, ...]:
    """Round numbers within a scale, evenly spaced by 1, 2 or 5 times a power of ten: at most `most` of them."""
    least = (scale.high - scale.low) / most
    power = 10.0 ** floor(log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)
    first, last = ceil(scale.low / step - 1e-9), floor(scale.high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))[: most + 1]


def signed(value: float, digits: int) -> str:
    """A number with a minus sign as printers set it, and never minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _svg(title: str, height: int, *parts: Html, framed: bool = False, description: str = "") -> Html:
    return html(
        '<svg class="chart{framed}" role="img" width="100%" height="{height}">\n'
        "<title>{title}</title>\n{description}{parts}\n</svg>",
        framed=" framed" if framed else "",
        height=height,
        title=title,
        description=html("<desc>{text}</desc>\n", text=description) if description else "",
        parts=join(part for part in parts if part),
    )


def _whisker(scale: Scale, row: Whisker, top: int) -> Html:
    y, x = top + TEXT + 14, scale.percent(row.value)
    parts = [_captions(row.label, row.text, top)]
    if row.interval:
        low, high = (scale.percent(end) for end in row.interval)
        parts += [_line(f"whisker {row.series}", low, y, high, y)]
        parts += [_line(f"cap {row.series}", end, y - 4, end, y + 4) for end in (low, high)]
    return join([*parts, _mark(row.series, x, y)])


def _lane(scale: Scale, row: Lane, top: int) -> Html:
    first = top + TEXT + 16
    known = {series: value for series, value in row.values.items() if value is not None}
    parts = [_captions(row.label, row.text, top)]
    if row.reference is not None:
        x = scale.percent(row.reference)
        for index, value in enumerate(known.values()):
            y = first + 11 * index
            parts.append(_line("shift", x, y, scale.percent(value), y))
        parts.append(_line("tick fp32", x, first - 6, x, first + 11 * max(len(known) - 1, 0) + 6))
    for index, (series, value) in enumerate(known.items()):
        parts.append(_mark(series, scale.percent(value), first + 11 * index))
    return join(parts)


def _captions(label: str, text: str, top: int) -> Html:
    return html(
        '<rect class="band" y="{top}" width="100%" height="{height}"/>'
        '<text class="label" x="0" y="{y}">{label}</text><text class="value" x="100%" y="{y}">{text}</text>',
        top=top,
        height=TEXT + 5,
        y=top + TEXT,
        label=label if len(label) <= 30 else f"{label[:29]}\N{HORIZONTAL ELLIPSIS}",
        text=text,
    )


def _across(scale: Scale, top: int, bottom: int, origin: float) -> Html:
    """Vertical grid lines with their values below."""
    values = ticks(scale)
    digits = _digits(values)
    lines = (
        html(
            '<line class="{kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>'
            '<text class="axis" x="{x:.2f}%" y="{y}">{value}</text>',
            kind="origin" if value == origin else "grid",
            x=scale.percent(value),
            top=top,
            bottom=bottom,
            y=bottom + TEXT + 2,
            value=_tick(value, digits),
        )
        for value in values
    )
    return join(lines)


def _along(count: int, scale: Scale, height: int) -> Html:
    """Positions below a plot."""
    positions = sorted({1, *(int(value) for value in ticks(Scale(0, count)) if value >= 1 and value == int(value))})
    texts = (
        html('<text class="axis" x="{x:.2f}%" y="{y}">{n}</text>', x=scale.percent(n), y=height + TEXT + 2, n=n)
        for n in positions
    )
    return join(texts)


def _upward(scale: Scale, height: int) -> Html:
    """Horizontal grid lines with their values on the left."""
    values = ticks(scale)
    digits = _digits(values)
    lines = (
        html(
            '<line class="{kind}" x1="0%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="axis side" x="-6" y="{y:.1f}" dy="4">{value}</text>',
            kind="origin" if value == 0 else "grid",
            y=height * (1 - scale.percent(value) / 100),
            value=_tick(value, digits),
        )
        for value in values
    )
    return join(lines)


def _spot(spot: Spot, x: float, y: float, height: int) -> Html:
    """A dot; the chosen one has a ring, and a line down to the word."""
    dot = html(
        '<circle class="dot plain" cx="{x:.2f}%" cy="{y:.1f}" r="{r}"><title>{name}</title></circle>',
        x=x,
        y=y,
        r=5 if spot.is_chosen else 4,
        name=spot.name,
    )
    if not spot.is_chosen:
        return dot
    return html(
        '{leader}<circle class="ring" cx="{x:.2f}%" cy="{y:.1f}" r="9"/>{dot}'
        '<text class="number" style="text-anchor:{anchor}" x="{x:.2f}%" y="{below}">chosen</text>',
        leader=_line("shift", x, y + 9, x, height - TEXT),
        x=x,
        y=y,
        dot=dot,
        anchor=_anchor(x),
        below=height - 4,
    )


def _ceiling(points: Sequence[tuple[float, float]], y: float, bound: float) -> Html:
    """A bound from left to right, named at the end that is farther from the points, and not where `_limit` names."""

    def room(end: float) -> float:
        return min((abs(at - y) for x, at in points if abs(x - end) < 25), default=inf)

    is_right = room(100) >= room(0)
    return html(
        '<line class="bound" x1="0%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        '<text class="axis" style="text-anchor:{anchor}" x="{x}%" y="{y:.1f}" dy="{dy}">bound {bound:.4g}</text>',
        y=y,
        anchor="end" if is_right else "start",
        x=100 if is_right else 0,
        dy=-5 if y > 2 * TEXT + 10 else TEXT,
        bound=bound,
    )


def _anchor(x: float) -> str:
    """Which end of a text is at x, so that the text stays inside."""
    return "start" if x < 20 else "end" if x > 80 else "middle"


def _limit(scale: Scale, bound: float, bottom: int) -> Html:
    x = scale.percent(bound)
    return html(
        '<line class="bound" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>'
        '<text class="axis" style="text-anchor:{anchor}" x="{x:.2f}%" y="{y}">bound {bound:.4g}</text>',
        x=x,
        top=TEXT + 4,
        bottom=bottom,
        anchor=_anchor(x),
        y=TEXT - 2,
        bound=bound,
    )


def _mark(series: str, x: float, y: float) -> Html:
    """The sign of a series: a tick for fp32, a square for ONNX, a circle for others."""
    if series == "fp32":
        return _line("tick fp32", x, y - 6, x, y + 6)
    if series == "onnx":
        return html(
            '<rect class="mark onnx" x="{x:.2f}%" y="{y:.1f}" width="9" height="9" transform="translate(-4.5 -4.5)"/>',
            x=x,
            y=y,
        )
    return html('<circle class="mark {series}" cx="{x:.2f}%" cy="{y:.1f}" r="5"/>', series=series, x=x, y=y)


def _dot(series: str, x: float, y: float, r: float) -> Html:
    return html('<circle class="dot {series}" cx="{x:.2f}%" cy="{y:.1f}" r="{r:.1f}"/>', series=series, x=x, y=y, r=r)


def _y(scale: Scale, value: float, height: int) -> float:
    return height * (1 - scale.percent(value) / 100)


def _step(kind: str, here: tuple[float, float], there: tuple[float, float]) -> Html:
    """Across, then up or down."""
    (x1, y1), (x2, y2) = here, there
    rise = [_line(kind, x2, y1, x2, y2)] if y1 != y2 else []
    return join([_line(kind, x1, y1, x2, y1), *rise])


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    return html(
        '<line class="{kind}" x1="{x1:.2f}%" y1="{y1:.1f}" x2="{x2:.2f}%" y2="{y2:.1f}"/>',
        kind=kind,
        x1=x1,
        y1=y1,
        x2=x2,
        y2=y2,
    )


def _tick(value: float, digits: int) -> str:
    return signed(value, digits) if digits <= 3 or value == 0 else f"{value:.0e}".replace("-", "\N{MINUS SIGN}")


def _digits(values: Sequence[float]) -> int:
    """How many decimals tell neighbouring ticks apart."""
    if len(values) < 2:
        return 2
    return max(0, -floor(log10(values[1] - values[0]) + 1e-9))
