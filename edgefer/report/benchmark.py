"""The report that `benchmark` writes: are the runs evidence, how long does a frame take where, what did boards do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.device.latency import Latency, quantile
from edgefer.device.pipeline import Pipeline
from edgefer.device.results import ArtifactRun, Benchmark, Run
from edgefer.device.summary import (
    cost_rows,
    minutes,
    name,
    pipeline_rows,
    pipeline_verdict,
    rows,
    sustained_rows,
    sustained_verdict,
    throughput_rows,
    title,
)
from edgefer.evaluation.head_metrics import Interval
from edgefer.quantize.costs.cost import CostModel
from edgefer.report import charts
from edgefer.report.markup import Html, facts, figure, html, join, section, side_by_side, table

SLICES = 120
"""Points of a curve."""
NEIGHBOURS = 8
"""Frames that each point over time is the median of, at least."""
TAIL = 0.99
"""Share of the frames that the chart of the distribution shows, for a few stragglers would squeeze it."""

_CONDITIONS = (
    ("temperature_c", 1.0, "Temperature", "Degrees Celsius"),
    ("clock_hz", 1e-6, "Clock", "Megahertz of the fastest core"),
)
_STATUS = {
    "trusted": ("held", "trusted"),
    "throttled": ("broken", "throttled"),
    "noisy": ("unknown", "noisy"),
    "incomplete": ("broken", "lacking"),
}


def section_verdict(measured: Benchmark) -> Html:
    """The headline: which runs are evidence."""
    total = len(measured.runs) + len(measured.failures)
    good = sum(run.verdict.status == "trusted" for run in measured.runs)
    headline = "Every run is evidence." if good == total else f"{good} of {total} runs are evidence."
    lines = [_verdict_line(run) for run in measured.runs]
    lines += [_line("broken", "failed", f"{error.message}") for error in measured.failures.values()]
    return html(
        '<header>\n<p class="kicker">Benchmark report</p>\n<h1>{name}</h1>\n<p class="subject">On {devices}</p>\n'
        '<div class="verdict{kind}">\n<strong>{headline}</strong>\n<ul>\n{lines}\n</ul>\n</div>\n</header>',
        name=measured.bundle["name"],
        devices=", ".join(run.name for run in measured.runs),
        kind="" if good == total else " open",
        headline=headline,
        lines=join(lines),
    )


def section_side_by_side(measured: Benchmark) -> Html:
    """All artifacts on all devices on one scale, and what int8 gains over float; emulated boards by instructions."""
    every = [(run, artifact) for run in measured.runs for artifact in run.artifacts.values()]
    times = [
        _whisker(run, artifact, artifact.timing.invoke.p50, artifact.timing.invoke.ci95["p50"], "{:.3f} ms")
        for run, artifact in every
        if not run.device["emulated"]
    ]
    counts = [
        _whisker(run, artifact, artifact.instructions.total / 1e6, None, "{:.2f} M")
        for run, artifact in every
        if artifact.instructions is not None
    ]
    figures = []
    if times:
        heading = "Median time of an inference"
        note = "Milliseconds, with 95 % bootstrap intervals."
        figures.append(figure(heading, charts.whiskers(heading, times), note))
    if counts:
        heading = "Instructions of an inference"
        note = "Millions of ARM instructions, exact on EMULATED boards, whose milliseconds mean nothing."
        figures.append(figure(heading, charts.whiskers(heading, counts), note))
    return section("Boards side by side", *figures, *_against_float(measured.runs))


def section_device(run: Run) -> Html:
    """One device: all numbers, the distribution of times, and how they went along with heat and clock."""
    header, found = rows(run)
    artifacts = list(run.artifacts.values())
    emulated = " (emulated: they mean nothing)" if run.device["emulated"] else ""
    legend = charts.legend({_series(artifact): name(artifact) for artifact in artifacts})
    distribution = [(_series(artifact), _distribution(artifact.timing.invoke)) for artifact in artifacts]
    percentiles = [
        (_series(artifact), value, share)
        for artifact, times in ((artifact, artifact.timing.invoke) for artifact in artifacts)
        for value, share in ((times.p50, 50.0), (times.p90, 90.0), (times.p99, 99.0))
    ]
    over_time = [(_series(artifact), _over_time(artifact)) for artifact in artifacts]
    figures = [
        figure(
            "Distribution of inference times",
            charts.curves("Share of frames by time", distribution, percentiles, upward=charts.Scale(0, 100)),
            f"Per cent of frames that take no longer than so many milliseconds{emulated}; dots are p50, p90 and p99.",
        ),
        figure(
            "Inference times over time",
            charts.curves("Median time of an inference over time", over_time),
            f"Milliseconds{emulated} over seconds; each point is the median of neighbouring frames.",
        ),
        *_conditions(run),
    ]
    return section(
        title(run),
        legend,
        side_by_side(figures),
        table("Of each artifact", header[1:], [(row[0].strip(), row[1:]) for row in found]),
        *_throughput(run),
        *_sustained(run),
        *([] if run.operator_costs is None else [_operators(run.operator_costs)]),
        *([] if run.pipeline is None else [_pipeline(run, run.pipeline)]),
    )


def section_settings(measured: Benchmark) -> Html:
    """How the numbers came about."""
    settings = measured.settings
    pace = "back to back" if settings.fps is None else f"{settings.fps:g} frames per second"
    return section(
        "How it was measured",
        facts(
            [
                ("Frames", f"at least {settings.frames:,}, for at least {settings.seconds:g} s, {pace}"),
                ("Warm-up", f"{settings.warmup} frames"),
                ("Drift", f"on {measured.data['samples']:,} images: {measured.data['source']}"),
                ("LSB", "one step of the int8 tensor that a head is computed from"),
            ]
        ),
    )


def _verdict_line(run: Run) -> Html:
    kind, sign = _STATUS[run.verdict.status]
    device, reasons = run.device["name"], "; ".join(run.verdict.reasons)
    return _line(kind, sign, f"{device}: {reasons}" if reasons else device)


def _line(kind: str, sign: str, text: str) -> Html:
    template = '<li class="{kind}"><span class="sign">{sign}</span> {text}</li>'
    return html(template, kind=kind, sign=sign, text=text)


def _whisker(run: Run, artifact: ArtifactRun, value: float, interval: Interval | None, template: str) -> charts.Whisker:
    return charts.Whisker(f"{run.name}: {name(artifact)}", template.format(value), value, interval, _series(artifact))


def _against_float(runs: Sequence[Run]) -> list[Html]:
    """How many times faster than the float reference int8 is, and with how many times fewer instructions."""
    lines: list[tuple[str, Sequence[object]]] = []
    for run in runs:
        reference = next((a for a in run.artifacts.values() if a.artifact.is_reference), None)
        if reference is None:
            continue
        for artifact in run.artifacts.values():
            if artifact is not reference:
                times = "" if run.device["emulated"] else _ratio(reference, artifact)
                lines.append((f"{run.name}: {name(artifact)}", [times, _instruction_ratio(reference, artifact)]))
    if not lines:
        return []
    return [table("Against ONNX fp32", ["times faster", "times fewer instructions"], lines)]


def _ratio(reference: ArtifactRun, artifact: ArtifactRun) -> str:
    return f"{reference.timing.invoke.p50 / artifact.timing.invoke.p50:.2f}"


def _instruction_ratio(reference: ArtifactRun, artifact: ArtifactRun) -> str:
    if reference.instructions is None or artifact.instructions is None:
        return ""
    return f"{reference.instructions.total / artifact.instructions.total:.2f}"


def _distribution(latency: Latency) -> list[tuple[float, float]]:
    shares = np.linspace(0, TAIL, SLICES)
    return [(quantile(latency.samples, float(share)), 100 * float(share)) for share in shares]


def _over_time(artifact: ArtifactRun) -> list[tuple[float, float]]:
    timing = artifact.timing
    parts = np.array_split(timing.invoke.samples, max(min(SLICES, len(timing.invoke.samples) // NEIGHBOURS), 1))
    step = timing.duration_s / len(parts)
    return [(timing.started_s + (index + 0.5) * step, quantile(part, 0.5)) for index, part in enumerate(parts)]


def _throughput(run: Run) -> list[Html]:
    """Frames per second, and how long each waits for them, from one stream to more than the device can take."""
    if not any(artifact.throughput for artifact in run.artifacts.values()):
        return []
    lines, dots = [], []
    for artifact in run.artifacts.values():
        tried = artifact.throughput.tried if artifact.throughput else ()
        single = [(streams.fps, streams.p90) for streams in tried if (streams.batch, streams.threads) == (1, 1)]
        lines.append((_series(artifact), single))
        dots += [(_series(artifact), streams.fps, streams.p90) for streams in tried]
    heading = "Waiting time by frames per second"
    emulated = " (emulated: they mean nothing)" if run.device["emulated"] else ""
    note = (
        f"Nine in ten answers take no longer than so many milliseconds{emulated}; lines join 1, 2, 4, ... interpreters "
        "of one thread side by side, dots alone are of more threads or of batches."
    )
    header, found = throughput_rows(run)
    across = charts.widened([0.0, *(fps for _, fps, _ in dots)])
    upward = charts.widened([0.0, *(p90 for _, _, p90 in dots)])
    chart = charts.curves(heading, lines, dots, across=across, upward=upward)
    return [
        table(header[0].capitalize(), header[1:], [(row[0], row[1:]) for row in found]),
        side_by_side([figure(heading, chart, note)]),
    ]


def _sustained(run: Run) -> list[Html]:
    """Latency, temperature and clock over minutes, and from when on they are steady."""
    if run.sustained is None:
        return []
    windows, emulated = run.sustained.windows, " (emulated: they mean nothing)" if run.device["emulated"] else ""
    header, found = sustained_rows(run)
    latency = [
        (_series(run.artifacts[file]), [(window.t_s / 60, window.p50[file]) for window in windows])
        for file in windows[0].p50
    ]
    heading = "Inference times, sustained"
    figures = [
        figure(
            heading,
            charts.curves(heading, latency),
            f"Milliseconds{emulated} over minutes: the median of each part of the time.",
        )
    ]
    for key, factor, heading, note in () if run.device["emulated"] else _CONDITIONS:
        points = [(w.t_s / 60, factor * w.conditions[key]) for w in windows if w.conditions[key] is not None]
        if len(points) > 1:
            heading = f"{heading}, sustained"
            figures.append(figure(heading, charts.curves(heading, [("plain", points)]), f"{note} over minutes."))
    return [
        table(header[0], header[1:], [(row[0], row[1:]) for row in found]),
        html(
            "<p>{verdict}.</p>", verdict=f"Over {minutes(run.sustained.lasted_s)}: {'; '.join(sustained_verdict(run))}"
        ),
        side_by_side(figures),
    ]


def _operators(costs: CostModel) -> Html:
    """What kinds of operators cost."""
    header, found = cost_rows(costs)
    return table(f"What operators cost, {costs.unit}", header[1:], [(row[0], row[1:]) for row in found])


def _pipeline(run: Run, found: Pipeline) -> Html:
    """A frame's whole way, and which frame rate that holds."""
    header, stages = pipeline_rows(found, emulated=run.device["emulated"])
    verdict = html("<p>{clip} {verdict}.</p>", clip=f"{found.clip}:", verdict=pipeline_verdict(found))
    return join([table(header[0].capitalize(), header[1:], [(row[0], row[1:]) for row in stages]), verdict])


def _conditions(run: Run) -> list[Html]:
    """Temperature and clock over time, where the device tells them."""
    figures = []
    for key, factor, heading, note in _CONDITIONS:
        points = [(s["t_s"], factor * s[key]) for s in run.timeline if s[key] is not None]
        if len(points) > 1:
            heading = f"{heading} over time"
            figures.append(figure(heading, charts.curves(heading, [("plain", points)]), f"{note} over seconds."))
    return figures


def _series(artifact: ArtifactRun) -> str:
    return "fp32" if artifact.artifact.is_reference else artifact.artifact.format
