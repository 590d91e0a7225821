"""A benchmark for people: the rows of a table about each device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from edgefer.device.latency import Latency
from edgefer.device.pipeline import Pipeline
from edgefer.device.results import ArtifactRun, Run
from edgefer.device.sustained import Window
from edgefer.device.throughput import SIDE_BY_SIDE, Streams, Throughput
from edgefer.host.text import printable
from edgefer.host.units import format_size
from edgefer.quantize.costs.cost import CostModel

Row: TypeAlias = tuple[str, ...]


def title(run: Run) -> str:
    """A device in one line."""
    facts = (run.device["model"], run.device["cpu"], run.device["kernel"])
    return f"{run.name}: {', '.join(fact for fact in facts if fact)}"


def name(run: ArtifactRun) -> str:
    """An artifact as it is called in tables."""
    format = {"tflite": "TFLite", "onnx": "ONNX"}[run.artifact.format]
    return f"{format} {'fp32' if run.artifact.is_reference else run.artifact.precision}"


def rows(run: Run) -> tuple[Row, list[Row]]:
    """Header and rows of the table about one device: what was measured, then a column per artifact."""
    artifacts = list(run.artifacts.values())
    emulated = ", emulated" if run.device["emulated"] else ""
    found = [(label.format(emulated=emulated), *map(cell, artifacts)) for label, cell in _ROWS.items()]
    for index, timing in enumerate(artifacts[0].sweep):
        label = f"with {timing.threads} threads, p50, ms{emulated}"
        found.append((label, *(f"{artifact.sweep[index].invoke.p50:.3f}" for artifact in artifacts)))
    return ("", *map(name, artifacts)), [row for row in found if any(row[1:])]


def cost_rows(costs: CostModel) -> tuple[Row, list[Row]]:
    """Header and rows of the table about operators: what each kind costs, by the lines that were fitted."""
    lines = {f"{kind} {compute}": line for (kind, compute), line in costs.lines.items()}
    lines["int8 to or from float"] = costs.conversion
    found = [(name, *map(_rounded, line)) for name, line in lines.items()]
    return (f"operators, {costs.unit}", "per node", "per element", "per multiply-accumulate"), found


def throughput_rows(run: Run) -> tuple[Row, list[Row]]:
    """Header and rows of the table about frames per second: what was tried, then a column per artifact."""
    columns = {name(artifact): artifact.throughput for artifact in run.artifacts.values() if artifact.throughput}
    tried = {column: {_combination(s): s for s in found.tried} for column, found in columns.items()}
    combinations = dict.fromkeys(combination for each in tried.values() for combination in each)
    found = [
        (_combined(*combination), *(_rate(tried[column].get(combination)) for column in columns))
        for combination in sorted(combinations, key=lambda each: (each[0], each[1] > 1, each))
    ]
    found.append(("saturated by", *(_combined(*_combination(each.saturating)) for each in columns.values())))
    found.append((f"memory of {SIDE_BY_SIDE} side by side", *map(_side_by_side, columns.values())))
    emulated = ", emulated" if run.device["emulated"] else ""
    return (f"frames per second (p50, p90, ms{emulated})", *columns), found


def _combination(streams: Streams) -> tuple[int, int, int]:
    return streams.batch, streams.threads, streams.instances


def _combined(batch: int, threads: int, instances: int) -> str:
    text = "one stream" if instances == 1 else f"{instances} side by side"
    text += f", {threads} threads each" if threads > 1 else ""
    return text + (f", batches of {batch}" if batch > 1 else "")


def _rate(streams: Streams | None) -> str:
    if streams is None:
        return ""
    throttled = ", throttled" if streams.is_throttled else ""
    return f"{_rounded(streams.fps)} ({_rounded(streams.p50)}, {_rounded(streams.p90)}{throttled})"


def _side_by_side(found: Throughput) -> str:
    sizes = [streams.peak_rss_bytes for streams in found.tried if _combination(streams) == (1, 1, SIDE_BY_SIDE)]
    return format_size(sizes[0])


def sustained_rows(run: Run) -> tuple[Row, list[Row]]:
    """Header and rows of the table about a sustained run: a column per artifact."""
    assert run.sustained is not None
    start, end = run.sustained.at_start(), run.sustained.at_end()
    artifacts = [artifact for file, artifact in run.artifacts.items() if file in start]
    files = [artifact.artifact.file for artifact in artifacts]
    ranks = [{file: str(rank) for rank, file in enumerate(times, 1)} for times in (start, end)]
    emulated = ", emulated" if run.device["emulated"] else ""
    header = (f"{minutes(run.sustained.lasted_s)} in turns, p50, ms{emulated}", *map(name, artifacts))
    return header, [
        ("at the start", *(f"{start[file]:.3f}" for file in files)),
        ("at the end", *(f"{end[file]:.3f}" for file in files)),
        ("times slower", *(f"{end[file] / start[file]:.2f}" for file in files)),
        ("rank at the start, the end", *(f"{ranks[0][file]}, {ranks[1][file]}" for file in files)),
    ]


def sustained_verdict(run: Run) -> Iterator[str]:
    """From when on it was steady, and what heat and clock did."""
    found = run.sustained
    assert found is not None
    if not found.is_complete:
        yield f"interrupted after {minutes(found.lasted_s)} of {minutes(found.asked_s)}"
    steady = found.steady_s
    yield (
        "not steady for the last quarter"
        if steady is None
        else (f"steady from minute {steady / 60:.1f} on" if steady else "steady from the start")
    )
    if run.device["emulated"]:
        yield "temperature and clock: an emulated board has none"
        return
    yield from (
        _course(found.windows, *kind)
        for kind in (("temperature", "temperature_c", 1.0, "C", ".1f"), ("clock", "clock_hz", 1e-6, "MHz", ".0f"))
    )
    throttled = found.throttled_s
    if throttled is not None:
        yield f"throttled from minute {throttled / 60:.1f} on, said the firmware"
    elif all(window.conditions["throttled"] is None for window in found.windows):
        yield "throttling: this machine does not tell"


def minutes(seconds: float) -> str:
    """A time for people."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _course(windows: Sequence[Window], what: str, key: str, factor: float, unit: str, digits: str) -> str:
    told = [factor * window.conditions[key] for window in windows if window.conditions[key] is not None]
    if not told:
        return f"{what}: this machine does not tell"
    first, last, low, high = (format(value, digits) for value in (told[0], told[-1], min(told), max(told)))
    return f"{what}: from {first} to {last} {unit}, between {low} and {high}"


def pipeline_rows(found: Pipeline, *, emulated: bool) -> tuple[Row, list[Row]]:
    """Header and rows of the table about a frame's whole way."""
    header = (f"pipeline, ms{', emulated' if emulated else ''}", "p50", "p90", "p99")
    stages = found.stages.items()
    return header, [(name, *(f"{time:.2f}" for time in (each.p50, each.p90, each.p99))) for name, each in stages]


def pipeline_verdict(found: Pipeline) -> str:
    """Which frame rate it holds."""
    width, height = found.size
    holds = "holds" if found.holds else "does not hold"
    return (
        f"{holds} {found.fps:g} frames per second of {width}x{height}: 99 of 100 frames stay under the period of "
        f"{found.holds_fps:g}; {found.late_frames} of {len(found.stages['total'].samples)} were late"
    )


def _rounded(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"


def _interval(latency: Latency, quantile: str) -> str:
    low, high = latency.ci95[quantile]
    return f"{low:.3f} to {high:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _same(run: ArtifactRun) -> str:
    drift, main = run.drift, run.drift.heads[0]
    worst = max((head.lsb.max for head in drift.heads if head.lsb), default=0)
    if drift.equals_host:
        return f"yes,{f' to {worst} LSB,' if worst else ''} {drift.samples} images"
    if main.lsb is None:
        return f"differs by {main.from_host.max_abs_difference:.2g}"
    return f"NO: {worst} LSB, {_share(main.lsb.share_equal)} equal"


def _agreement(run: ArtifactRun) -> str:
    found = run.drift.heads[0].from_reference
    return _share(found.agreement.value) if found and found.agreement else ""


def _late(run: ArtifactRun) -> str:
    late = run.timing.late_frames
    return "" if late is None else f"{late} of {len(run.timing.invoke.samples)}"


def _millions(run: ArtifactRun) -> str:
    return f"{run.instructions.total / 1e6:.2f}" if run.instructions else ""


_ROWS: Mapping[str, Callable[[ArtifactRun], str]] = {
    "invoke p50, ms{emulated}": lambda run: f"{run.timing.invoke.p50:.3f}",
    "  95 % interval": lambda run: _interval(run.timing.invoke, "p50"),
    "invoke p90, ms{emulated}": lambda run: f"{run.timing.invoke.p90:.3f}",
    "invoke p99, ms{emulated}": lambda run: f"{run.timing.invoke.p99:.3f}",
    "invoke min, ms{emulated}": lambda run: f"{run.timing.invoke.min:.3f}",
    "preprocess p50, ms{emulated}": lambda run: f"{run.timing.preprocess.p50:.3f}",
    "postprocess p50, ms{emulated}": lambda run: f"{run.timing.postprocess.p50:.3f}",
    "load, ms{emulated}": lambda run: f"{run.timing.load_ms:.1f}",
    "first inference, ms{emulated}": lambda run: f"{run.timing.first_ms:.1f}",
    "frames": lambda run: f"{len(run.timing.invoke.samples):,}",
    "late frames": _late,
    "threads": lambda run: str(run.timing.threads),
    "peak memory": lambda run: format_size(run.timing.peak_rss_bytes),
    "delegated nodes": lambda run: f"{run.nodes['delegated']} of {run.nodes['total']}" if run.nodes else "",
    "million instructions": _millions,
    "accuracy here": lambda run: _share(run.drift.heads[0].accuracy),
    "agreement with fp32": _agreement,
    "computes what the host does": _same,
    "runtime": lambda run: printable(f"{run.runtime['name']} {run.runtime['version']}"),
}
