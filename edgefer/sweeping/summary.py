"""A sweep for people: rows of a table, and what is recommended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from edgefer.host.text import counted
from edgefer.host.units import format_size
from edgefer.sweeping.results import Pace, Point, Score, Sweep, option_words


def header(sweep: Sweep) -> tuple[str, ...]:
    """Columns of the table."""
    return ("network", "options", "format", "size", "drop", *sweep.devices, "")


def rows(sweep: Sweep) -> Iterator[tuple[str, ...]]:
    """A row for each point, those of the front marked, the recommended one by name."""
    front, chosen = sweep.front, sweep.recommended
    every = [point.options for point in sweep.points]
    for point in sweep.points:
        mark = "recommended" if point is chosen else "front" if point in front else ""
        drop = "" if point.drop is None else f"{point.drop:.2f}"
        paces = (shown(point.paces[device]) if device in point.paces else "" for device in sweep.devices)
        yield (
            point.network,
            option_words(point.options, every),
            point.format,
            format_size(point.bytes),
            drop,
            *paces,
            mark,
        )


def shown(pace: Pace) -> str:
    """What a frame takes, for people."""
    doubt = "" if pace.trusted else " (not trusted)"
    return f"{pace.value:.3g} {pace.unit}{doubt}"


def verdict(sweep: Sweep) -> list[str]:
    """What is recommended and why, or which bounds leave nothing."""
    chosen = sweep.recommended
    if chosen is not None:
        lines = [f"Recommended: bundles/{chosen.bundle}, {chosen.format}: it keeps all bounds; {_why(chosen)}."]
        if doubtful := [device for device, pace in chosen.paces.items() if not pace.trusted]:
            where = ", ".join(doubtful)
            lines.append(f"Its time on {where} is no evidence: run the same again when nothing else runs there.")
        return lines
    lines = [f"None of {counted(len(sweep.points), 'artifact')} keeps all bounds on all boards."]
    for point in sweep.front:
        broken = "; ".join(point.broken(sweep.limits)) or "it was not measured on all boards"
        lines.append(f"{point.bundle}, {point.format}: {broken}")
    return lines


def _why(point: Point) -> str:
    return "none that does is faster" if point.paces else "none that does loses less"


def csv_header(sweep: Sweep) -> tuple[str, ...]:
    """Columns of `sweep.csv`."""
    options = sorted({key for point in sweep.points for key in point.options})
    names = list(dict.fromkeys(name for point in sweep.points for name in point.scores))
    scores = [f"{name}.{field.name}" for name in names for field in fields(Score)]
    return (
        *("network", "bundle", "format"),
        *options,
        *("bytes", "drop"),
        *scores,
        *(f"{device}.{field.name}" for device in sweep.devices for field in fields(Pace)),
        *("on_front", "recommended"),
    )


def csv_rows(sweep: Sweep) -> Iterator[tuple[str, ...]]:
    """A row for each point."""
    front, chosen = sweep.front, sweep.recommended
    for point in sweep.points:
        values: dict[str, object] = {
            "network": point.network,
            "bundle": point.bundle,
            "format": point.format,
            **point.options,
            "bytes": point.bytes,
            "drop": point.drop,
            **{f"{name}.{key}": value for name, score in point.scores.items() for key, value in vars(score).items()},
            **{f"{name}.{key}": value for name, pace in point.paces.items() for key, value in vars(pace).items()},
            "on_front": point in front,
            "recommended": point is chosen,
        }
        yield tuple(_cell(values.get(column)) for column in csv_header(sweep))


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
