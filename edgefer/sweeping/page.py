"""The page of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgefer.host.text import counted
from edgefer.report import charts
from edgefer.report.markup import Html, figure, html, join, page, section, table
from edgefer.sweeping.results import Point, Sweep, option_words
from edgefer.sweeping.summary import header, rows, verdict


def sweep_page(sweep: Sweep) -> str:
    """One HTML document; equal results give equal documents."""
    lines = verdict(sweep)
    head = html(
        '<header>\n<p class="kicker">Sweep</p>\n<h1>{title}</h1>\n</header>\n'
        '<div class="verdict"><strong>{first}</strong>{rest}</div>',
        title=sweep.name,
        first=lines[0],
        rest=join((html("<p>{line}</p>", line=line) for line in lines[1:]), ""),
    )
    caption = f"{counted(len(sweep.points), 'artifact')}, {len(sweep.front)} of them beaten by none"
    cells = [(f"{row[0]}, {row[1]}", row[2:]) for row in rows(sweep)]
    parts = [
        head,
        section("What it costs to lose less", *_charts(sweep)),
        section("All", table(caption, header(sweep)[2:], cells)),
    ]
    if sweep.failures:
        failed = [(failure.what, (failure.reason,)) for failure in sweep.failures]
        parts.append(section("Not done", table("What could not be converted or measured", ("why",), failed)))
    return page(f"{sweep.name}: sweep", html("<main>\n{sections}\n</main>", sections=join(parts)))


def _charts(sweep: Sweep) -> Iterator[Html]:
    limits = sweep.limits
    yield from _chart(sweep, "Size", "MB", lambda point: point.bytes / 1e6, limits.budget and limits.budget / 1e6)
    for device in sweep.devices:
        measured = [point.paces[device] for point in sweep.points if device in point.paces]
        if measured:
            unit = measured[0].unit
            bound = limits.latency_ms if unit == "ms" else limits.instructions_m
            yield from _chart(sweep, f"A frame on {device}", unit, _pace(device), bound)


def _pace(device: str) -> Callable[[Point], float | None]:
    return lambda point: point.paces[device].value if device in point.paces else None


def _chart(
    sweep: Sweep, what: str, unit: str, cost: Callable[[Point], float | None], bound: float | None
) -> Iterator[Html]:
    """Drop over a cost, and the line of the best up to each cost."""
    every = [point.options for point in sweep.points]
    spots = sorted(
        (
            charts.Spot(
                f"{point.network}, {option_words(point.options, every)}, {point.format}: "
                f"{x:.3g} {unit}, {point.drop:.2f} points",
                x,
                point.drop,
                point is sweep.recommended,
            )
            for point in sweep.points
            if (x := cost(point)) is not None and point.drop is not None
        ),
        key=lambda spot: spot.x,
    )
    if not spots:
        return
    across = charts.widened([*(spot.x for spot in spots), *([] if bound is None else [bound])])
    chart = charts.frontier(
        f"{what} and drop",
        f"{len(spots)} artifacts from the cheapest to the dearest, and the smallest drop up to each cost",
        spots,
        across=across,
        origin=across.low,
        more_is_better=False,
        bound_across=bound,
        bound_upward=sweep.limits.max_drop,
    )
    yield figure(
        f"{what}, {unit}",
        chart,
        "Upward: percentage points of accuracy below the best float network of the sweep. The line is the best that "
        "each cost buys; dashed lines are bounds; the ringed one is recommended.",
    )
