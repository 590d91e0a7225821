"""Many viewers of one stimulus: what they showed on average, how many of them, when most, and how sure that is.

Each viewer's smoothed scores are averaged in bins of time; a bin is known of a viewer where any frame in it is.
Viewers who are known for too little of the stimulus are left out, and told; bins of too few viewers are not shown,
as they would tell of persons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from edgefer.errors import EvidenceError, InputError, UsageError
from edgefer.evaluation.statistics import bootstrap
from edgefer.execution import Executor, executor
from edgefer.host.csv_tables import csv_rows
from edgefer.host.progress import SILENT, Progress
from edgefer.timeline.observed import Floats
from edgefer.timeline.read_runs import SeenSource, read_runs

SCHEMA = "edgefer.aggregate/1"
BIN_S = 0.2
LEAST_KNOWN = 0.7
"""Of the stimulus, for a viewer to count."""
FEWEST_VIEWERS = 5
"""In a bin, for it to be shown."""
THRESHOLD = 0.5
PEAKS = 3
PROMINENCE = 0.05
"""By how much a peak stands out from the valleys around it."""

_Z = 1.959964


@dataclass(frozen=True, eq=False)
class Viewer:
    """One viewer's scores.

    Attributes:
        name: run and source.
        scores: by name, (bins,), NaN where nothing is known.
        known: share of the stimulus on which it is.
    """

    name: str
    scores: Mapping[str, Floats]
    known: float


@dataclass(frozen=True, eq=False)
class Curve:
    """One score over time, (bins,) each; NaN where too few viewers are known.

    Attributes:
        score: its name.
        mean: over viewers.
        low: of its 95 % bootstrap interval over viewers.
        high: likewise.
        share: of viewers, whose score is at least the threshold.
        share_low: of its Wilson interval.
        share_high: likewise.
    """

    score: str
    mean: Floats
    low: Floats
    high: Floats
    share: Floats
    share_low: Floats
    share_high: Floats


@dataclass(frozen=True)
class Estimate:
    """A mean over viewers and its 95 % bootstrap interval, None where viewers do not vary."""

    score: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PartOfStimulus:
    """A stretch of the stimulus that a marker names.

    Attributes:
        name: of the part.
        start_s: seconds.
        end_s: seconds.
        viewers: known in it.
        scores: their means.
    """

    name: str
    start_s: float
    end_s: float
    viewers: int
    scores: tuple[Estimate, ...]


@dataclass(frozen=True)
class Peak:
    """Where a curve is highest."""

    score: str
    time_s: float
    mean: float


@dataclass(frozen=True, eq=False)
class Aggregate:
    """Viewers of one stimulus, summed up.

    Attributes:
        times: middles of the bins, seconds, (bins,).
        bin_s: their length.
        viewers: of each bin, how many are known, (bins,).
        counted: names of the viewers that count.
        left_out: name and reason of those that do not.
        curves: one for each score.
        peaks: of each score, the highest first.
        parts: by markers.
        threshold: from which score on a viewer counts as showing it.
    """

    times: Floats
    bin_s: float
    viewers: Floats
    counted: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    curves: tuple[Curve, ...]
    peaks: tuple[Peak, ...]
    parts: tuple[PartOfStimulus, ...]
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.aggregate/1`; curves are in `curves.csv`."""
        return {
            "schema": SCHEMA,
            "bin_s": self.bin_s,
            "duration_s": round(len(self.times) * self.bin_s, 6),
            "threshold": self.threshold,
            "counted": len(self.counted),
            "left_out": [{"viewer": name, "reason": reason} for name, reason in self.left_out],
            "peaks": [asdict(peak) for peak in self.peaks],
            "parts": [{**asdict(part), "scores": [asdict(each) for each in part.scores]} for part in self.parts],
        }


def aggregate(
    runs: Sequence[Path],
    *,
    markers: Path | None = None,
    duration_s: float | None = None,
    bin_s: float = BIN_S,
    threshold: float = THRESHOLD,
    workers: Executor | int | None = None,
    progress: Progress = SILENT,
) -> Aggregate:
    """Sum up the viewers in the outputs of `edgefer run`; each source of them is one viewer.

    Args:
        runs: directories that `edgefer run` wrote.
        markers: a table of parts: name,start_s,end_s.
        duration_s: of the stimulus; the median of the viewers' own by default.
        bin_s: length of a bin.
        threshold: from which score on a viewer counts as showing it.
        workers: so many threads, one per processor when None; or whoever else does the work.
        progress: who is told.

    Raises:
        UsageError: no run is given, or bin and threshold make no sense.
        InputError: a run or the markers cannot be read.
        EvidenceError: too few viewers count.
    """
    if not runs:
        raise UsageError("no run is given", remedy="Name directories that `edgefer run` wrote.")
    if not bin_s > 0 or not 0 < threshold < 1:
        raise UsageError("a bin must last longer than nothing, and a threshold lie between 0 and 1")
    sources = read_runs(runs, executor(workers), progress)
    lasting = duration_s or float(np.median([source.end_s for source in sources]))
    bins = max(round(lasting / bin_s), 1)
    viewers = [_viewer(source, bins, bin_s) for source in sources]
    counting = [viewer for viewer in viewers if viewer.known >= LEAST_KNOWN]
    left_out = tuple(
        (viewer.name, f"known for {100 * viewer.known:.0f} % of the time, and {100 * LEAST_KNOWN:.0f} % are needed")
        for viewer in viewers
        if viewer.known < LEAST_KNOWN
    )
    if len(counting) < FEWEST_VIEWERS:
        raise EvidenceError(
            f"{len(counting)} of {len(viewers)} viewers count; fewer than {FEWEST_VIEWERS} would tell of persons",
            remedy="; ".join(f"{name}: {reason}" for name, reason in left_out[:3]) or "Bring more viewers.",
        )
    names = [name for name in counting[0].scores if all(name in viewer.scores for viewer in counting)]
    stacked = {name: np.stack([viewer.scores[name] for viewer in counting]) for name in names}
    known = (~np.isnan(next(iter(stacked.values())))).sum(axis=0)
    times: Floats = (np.arange(bins, dtype=np.float64) + 0.5) * bin_s
    curves = tuple(_curve(name, scores, threshold) for name, scores in stacked.items())
    return Aggregate(
        times,
        bin_s,
        known.astype(float),
        tuple(viewer.name for viewer in counting),
        left_out,
        curves,
        tuple(peak for curve in curves for peak in _peaks(curve, times)),
        tuple(_part(*marker, times, stacked) for marker in _markers(markers)) if markers else (),
        threshold,
    )


def _viewer(source: SeenSource, bins: int, bin_s: float) -> Viewer:
    places = (source.times / bin_s + 1e-9).astype(int)
    inside = places < bins
    counts = np.bincount(places[inside], minlength=bins).astype(float)
    means = {}
    for index, column in enumerate(source.scores):
        total = np.bincount(places[inside], weights=source.values[inside, index], minlength=bins)
        means[column] = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    return Viewer(source.name, means, float((counts > 0).mean()))


def _curve(name: str, scores: Floats, threshold: float) -> Curve:
    mean, low, high = (np.full(scores.shape[1], np.nan) for _ in range(3))
    share, share_low, share_high = (np.full(scores.shape[1], np.nan) for _ in range(3))
    for index, column in enumerate(scores.T):
        known = column[~np.isnan(column)]
        if len(known) < FEWEST_VIEWERS:
            continue
        estimate = _estimate(name, known)
        mean[index] = estimate.mean
        low[index] = estimate.mean if estimate.low is None else estimate.low
        high[index] = estimate.mean if estimate.high is None else estimate.high
        share[index] = (known >= threshold).mean()
        share_low[index], share_high[index] = wilson(int((known >= threshold).sum()), len(known))
    return Curve(name, mean, low, high, share, share_low, share_high)


def wilson(count: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, JASA 1927)."""
    share, z2 = count / trials, _Z**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _estimate(name: str, values: Floats) -> Estimate:
    interval = bootstrap(values[:, np.newaxis])
    low, high = interval or (None, None)
    return Estimate(name, float(values.mean()), low, high)


def _peaks(curve: Curve, times: Floats) -> Iterator[Peak]:
    """The highest moments, each of which stands out: between it and any higher one, the curve falls by `PROMINENCE`."""
    known = np.flatnonzero(~np.isnan(curve.mean))
    mean = curve.mean[known]
    chosen: list[int] = []
    for index in map(int, np.argsort(-mean, kind="stable")):
        higher = [other for other in range(len(mean)) if (mean[other], -other) > (mean[index], -index)]
        left = max((other for other in higher if other < index), default=-1)
        right = min((other for other in higher if other > index), default=len(mean))
        valleys = [side.min() for side in (mean[left + 1 : index + 1], mean[index:right])]
        least = max(valleys) if higher else min(valleys)
        if mean[index] - least >= PROMINENCE:
            chosen.append(index)
        if len(chosen) == PEAKS:
            break
    return (Peak(curve.score, float(times[known[index]]), float(mean[index])) for index in chosen)


def _markers(path: Path) -> list[tuple[str, float, float]]:
    with csv_rows(path, "a table with columns name, start_s and end_s", remedy="Times are seconds.") as rows:
        parts = [(row["name"], float(row["start_s"]), float(row["end_s"])) for row in rows]
    for name, start, end in parts:
        if not (isfinite(start) and isfinite(end) and start < end):
            raise InputError(f"{path}: part {name!r} ends before it starts")
    return parts


def _part(name: str, start: float, end: float, times: Floats, stacked: Mapping[str, Floats]) -> PartOfStimulus:
    inside = (times >= start) & (times < end)
    scores = []
    viewers = 0
    for score, values in stacked.items():
        here = values[:, inside]
        known = np.array([row[~np.isnan(row)].mean() for row in here if not np.isnan(row).all()])
        viewers = len(known)
        if viewers >= FEWEST_VIEWERS:
            scores.append(_estimate(score, known))
    return PartOfStimulus(name, start, end, viewers, tuple(scores))


def curve_header() -> tuple[str, ...]:
    """Columns of `curves.csv`."""
    return ("time_s", "score", "mean", "low", "high", "share", "share_low", "share_high", "viewers")


def curve_rows(found: Aggregate) -> Iterator[tuple[str, ...]]:
    """A row for each bin and score; empty where too few viewers are known."""
    for curve in found.curves:
        sides = (curve.mean, curve.low, curve.high, curve.share, curve.share_low, curve.share_high)
        for index, time_s in enumerate(found.times):
            numbers = (f"{side[index]:.6g}" if not np.isnan(side[index]) else "" for side in sides)
            yield (f"{time_s:.6g}", curve.score, *numbers, f"{found.viewers[index]:.0f}")


def part_header() -> tuple[str, ...]:
    """Columns of `parts.csv`."""
    return ("name", "start_s", "end_s", "viewers", "score", "mean", "low", "high")


def part_rows(found: Aggregate) -> Iterator[tuple[str, ...]]:
    """A row for each part and score."""
    for part in found.parts:
        for each in part.scores:
            ends = ("" if end is None else f"{end:.6g}" for end in (each.low, each.high))
            place = (part.name, f"{part.start_s:g}", f"{part.end_s:g}", str(part.viewers))
            yield (*place, each.score, f"{each.mean:.6g}", *ends)
