"""The report that `run` writes: who was seen when, what the network said of them, and how far that can be trusted."""

from __future__ import annotations

import numpy as np

from edgefer.faces.quality import FLAGS
from edgefer.host.text import counted
from edgefer.report.markup import Html, facts, figure, html, join, section, table
from edgefer.report.ribbons import Ribbon, ribbons
from edgefer.spec import Spec
from edgefer.timeline.results import Run, Timeline
from edgefer.timeline.score_names import columns, main_head
from edgefer.timeline.smoothing import WIDE_S
from edgefer.timeline.timeline import FaceLine

SOURCES = 20
"""That are drawn."""
FACES = 4
"""Of each source, those that are seen longest."""
EVENTS = 30
"""That are listed for each source."""


def section_seen(found: Run) -> Html:
    """The headline: how much was looked at, and on how much of it there was a face."""
    frames = sum(timeline.summary.frames for timeline in found.timelines)
    with_face = sum(timeline.summary.with_face for timeline in found.timelines)
    inferences = sum(timeline.summary.inferences for timeline in found.timelines)
    seconds = sum(timeline.summary.duration_s for timeline in found.timelines)
    head = (
        f"{counted(len(found.timelines), 'source')}, {seconds:,.1f} s: a face on {100 * with_face / frames:.1f} % of "
        f"{counted(frames, 'frame')}."
    )
    lines = [
        f"The network was asked {inferences:,} times.",
        *(f"Left out: {failure.source}: {failure.reason}" for failure in found.failures),
    ]
    return html(
        '<header>\n<p class="kicker">Faces over time</p>\n<h1>{name}</h1>\n</header>\n'
        '<div class="verdict{kind}"><strong>{head}</strong>{lines}</div>',
        name=found.bundle["name"],
        kind=" open" if found.failures else "",
        head=head,
        lines=join((html("<p>{line}</p>", line=line) for line in lines), ""),
    )


def section_source(timeline: Timeline, spec: Spec) -> Html:
    """One source: its faces over time, its events, and how well its faces show."""
    summary = timeline.summary
    longest = sorted(timeline.lines, key=lambda line: -len(line.frames))[:FACES]
    shown = [line for line in timeline.lines if line in longest]
    parts = [_face(timeline, line, spec, len(timeline.lines) > 1) for line in shown]
    if not parts:
        parts = [html("<p>No face was seen.</p>")]
    if len(timeline.lines) > FACES:
        parts.append(html("<p>{n} more faces are in frames.csv.</p>", n=len(timeline.lines) - FACES))
    if timeline.events:
        rows = [
            (
                event.label,
                [event.face, *(f"{t:.2f}" for t in (event.onset_s, event.peak_s, event.offset_s)), f"{event.peak:.2f}"],
            )
            for event in timeline.events[:EVENTS]
        ]
        caption = (
            f"Events{f' (the first {EVENTS} of {len(timeline.events):,})' if len(timeline.events) > EVENTS else ''}"
        )
        parts.append(table(caption, ["face", "onset, s", "peak, s", "offset, s", "score"], rows))
    told = [
        ("frames", f"{summary.frames:,}"),
        ("with a face", f"{100 * summary.with_face / summary.frames:.1f} %"),
        ("detector ran on", f"{summary.detector_calls:,}"),
        ("network asked", f"{summary.inferences:,}"),
        ("shown poorly", _poor(timeline)),
    ]
    return section(summary.source, *parts, facts(told))


def section_how(found: Run, spec: Spec) -> Html:
    """What was done to come to these scores."""
    smoothing = found.options["smoothing"]
    kinds = dict.fromkeys(output.kind for output in spec.outputs)
    halves = ", ".join(
        f"{kind.replace('_', ' ')} \N{PLUS-MINUS SIGN}{smoothing['half_s'].get(kind, WIDE_S):g} s" for kind in kinds
    )
    lag = "scores lag by half of that" if smoothing["mode"] == "causal" else "looking ahead as far as back"
    return section(
        "How it was measured",
        facts(
            [
                ("network", f"{found.bundle['name']}, {found.bundle['artifact']}"),
                ("faces by", found.options["detector"]),
                (
                    "detected on every",
                    f"{found.options['detect_every']} frames" if found.options["detect_every"] > 1 else "frame",
                ),
                ("asked on every", _asked(found)),
                ("smoothed", f"{smoothing['mode']}, {halves}; {lag}"),
                ("bridged", f"{smoothing['gap_s']:g} s out of sight at most"),
                ("consent", found.consent or "no note was given"),
            ]
        ),
    )


def _asked(found: Run) -> str:
    if policy := found.options["policy"]:
        return f"frame that the policy chose ({policy})"
    return f"{found.options['stride']} frames" if found.options["stride"] > 1 else "frame"


def _face(timeline: Timeline, line: FaceLine, spec: Spec, several: bool) -> Html:
    named = columns(spec)
    times = timeline.observed.times
    head = main_head(spec)
    rows = []
    for index, column in enumerate(named):
        if column.head is not head and column.head.kind not in ("valence_arousal", "action_units"):
            continue
        known = line.smooth[:, index]
        values = np.full(len(times), np.nan)
        values[line.frames] = (known + 1) / 2 if column.head.kind == "valence_arousal" else known
        mean = np.nanmean(known) if not np.isnan(known).all() else np.nan
        happened = [
            (e.onset_s, e.offset_s) for e in timeline.events if (e.face, e.label) == (line.track.face, column.label)
        ]
        rows.append(Ribbon(column.label, "" if np.isnan(mean) else f"mean {mean:.2f}", values, happened))
    label = f"face {line.track.face}" if several else "the face"
    signed = " (valence and arousal -1 to 1)" if any(c.head.kind == "valence_arousal" for c in named) else ""
    note = f"Smoothed scores, 0 to 1{signed}; bars below mark events."
    return figure(
        f"Face {line.track.face}" if several else "", ribbons(f"Scores of {label} over time", times, rows), note
    )


def _poor(timeline: Timeline) -> str:
    seen = sum(len(line.track.frames) for line in timeline.lines)
    counts = {
        flag: sum(int(((line.track.flags >> bit) & 1).sum()) for line in timeline.lines)
        for bit, flag in enumerate(FLAGS)
    }
    told = ", ".join(f"{flag.replace('_', ' ')} {count:,}" for flag, count in counts.items() if count)
    return f"{told} of {counted(seen, 'face')}" if told else "none"
