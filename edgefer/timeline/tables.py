"""Timelines as tables: a row for every frame, also without a face, and a row for every event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from math import isnan
from typing import Any

import numpy as np

from edgefer.spec import Spec
from edgefer.timeline.events import Event
from edgefer.timeline.look import Told, flags_of
from edgefer.timeline.observed import Observed
from edgefer.timeline.score_names import columns, main_head, smile_column
from edgefer.timeline.timeline import FaceLine

_PLACE = ("source", "frame", "time_s", "face", "status", "level", "score", "x", "y", "w", "h")
_SIDES = ("x", "y", "width", "height")
_QUALITY = ("sharpness", "brightness", "flags")


def frame_header(spec: Spec) -> tuple[str, ...]:
    """Columns of `frames.csv`."""
    names = tuple(column.name for column in columns(spec))
    answer = (*(("expression", "confidence") if main_head(spec) else ()), *(("smile",) if smile_column(spec) else ()))
    return (*_PLACE, *_QUALITY, *answer, *names, *(f"smooth_{name}" for name in names))


def frame_rows(observed: Observed, spec: Spec, lines: Sequence[FaceLine]) -> Iterator[tuple[str, ...]]:
    """The rows of a source: frame after frame, in each the faces in order of appearance."""
    by_frame: dict[int, list[tuple[FaceLine, int]]] = {}
    for line in lines:
        for index, frame in enumerate(line.frames):
            by_frame.setdefault(int(frame), []).append((line, index))
    named = columns(spec)
    head, smile = main_head(spec), smile_column(spec)
    expression = [(index, column.label) for index, column in enumerate(named) if head and column.head is head]
    smile_index = named.index(smile) if smile else None
    blank = ("",) * (len(frame_header(spec)) - 5)
    for frame, time_s in enumerate(observed.times):
        where = (observed.source, str(frame), _time(time_s))
        if frame not in by_frame:
            yield (*where, "", "no_face", *blank)
        for line, index in by_frame.get(frame, []):
            place = int(line.places[index])
            track, raw, smooth = line.track, line.raw[index], line.smooth[index]
            level = str(track.levels[place]) if place >= 0 and track.inferred[place] else ""
            seen = (
                (
                    _number(track.sharpness[place]),
                    _number(track.brightness[place]),
                    " ".join(flags_of(int(track.flags[place]))),
                )
                if place >= 0
                else ("", "", "")
            )
            answer: tuple[str, ...] = ()
            known = raw if not np.isnan(raw).any() else smooth
            if expression:
                best = max(expression, key=lambda each: (known[each[0]], -each[0]))
                is_known = not isnan(known[best[0]])
                answer += (best[1] if is_known else "", _number(known[best[0]]))
            if smile_index is not None:
                answer += (_number(known[smile_index]),)
            yield (
                *where,
                str(track.face),
                line.status(index),
                level,
                _number(track.scores[place]) if place >= 0 else "",
                *(f"{value:.2f}" for value in line.boxes[index]),
                *seen,
                *answer,
                *map(_number, raw),
                *map(_number, smooth),
            )


def live_line(told: Told, spec: Spec) -> dict[str, Any]:
    """A face in a frame as it comes, in the names of `frames.csv`; the expression is that of the smoothed scores."""
    named, head = columns(spec), main_head(spec)
    line: dict[str, Any] = {
        "source": told.source,
        "frame": told.frame,
        "time_s": told.time_s,
        "face": told.face,
        "score": round(told.box.score, 6),
        **{name: round(getattr(told.box, side), 2) for name, side in zip("xywh", _SIDES, strict=True)},
    }
    if told.smooth is not None:
        scores = {column: float(value) for column, value in zip(named, told.smooth, strict=True)}
        if head is not None:
            best = max((column for column in named if column.head is head), key=lambda column: scores[column])
            line |= {"expression": best.label, "confidence": round(scores[best], 6)}
        line |= {f"smooth_{column.name}": round(score, 6) for column, score in scores.items()}
    if told.answers is not None:
        line |= {column.name: round(float(told.answers[column.head.name][column.index]), 6) for column in named}
    return line


def event_header() -> tuple[str, ...]:
    """Columns of `events.csv`."""
    return tuple(field.name for field in fields(Event))


def event_rows(events: Iterable[Event]) -> Iterator[tuple[str, ...]]:
    """The rows of events."""
    for event in events:
        source, face, label, *times, peak = astuple(event)
        yield source, str(face), label, *map(_time, times), _number(peak)


def _time(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"
