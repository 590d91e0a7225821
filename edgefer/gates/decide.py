"""Judging: every bound of every gate in every place, with few false alarms however many there are.

In words, for a bound B on something that is worse when higher, with resolution R:

    fail      what was found lies beyond B, and not by chance: even the favourable end of the interval does
    pass      what was found lies within B, and the unfavourable end within B + R
    unknown   anything else: what was found may be chance, or the evidence is too coarse to exclude worse than B + R

Changes of answers to the same images are paired, and chance is excluded where the favourable end lies beyond no change
at all: the exact test of that is sharp.  Two runs always differ in time, so a time must clear the bound itself, and
so must its fastest frame.

The unfavourable end has a tail of 5 %.  The favourable end's tail is chosen so that all comparisons together raise a
false alarm in at most 5 % of checks: each gate gets an equal part of that, and shares it among its places (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgefer.gates.evidence import Evidence, Place, Unfit
from edgefer.gates.gate import Gate
from edgefer.gates.measurement import Interval, Measurement
from edgefer.gates.quantity import Quantity
from edgefer.gates.results import Decision, Finding, Outcome
from edgefer.gates.scoring import metrics_of
from edgefer.host.text import printable

FALSE_ALARMS = 0.05
"""Probability that any gate fails by chance in a check of a bundle that is as good as its bounds ask."""
FALSE_COMFORT = 0.05
"""Probability that a gate passes although the true value lies beyond its bound by its resolution."""

_DIGITS = 6
"""At most so many more than are usual tell what was found and its bound apart."""

_REMEDIES = {
    "bundle": "not known of this bundle",
    "evaluation": "give --evaluation, as `edgefer evaluate --json` writes it",
    "benchmark": "give --benchmark, as `edgefer benchmark --json` writes it",
}
_HINTS = {
    "evaluation": "more images would tell",
    "benchmark": "more runs on a quiet machine would tell: give --benchmark for each",
}


@dataclass(frozen=True, eq=False)
class _Question:
    """A bound of a gate in a place, with what there is to judge it by; `before` is None for a bound on the level."""

    gate: Gate
    place: Place
    bound: Quantity
    now: Measurement
    before: Measurement | None


def judge(gates: Sequence[Gate], now: Evidence, baseline: Evidence | None) -> tuple[Decision, ...]:
    """Decide every gate.

    Args:
        gates: what must hold.
        now: the evidence about the bundle.
        baseline: about the one that it is compared with; None to judge no change.
    """
    asked = [question for gate in gates for question in _questions(gate, now, baseline)]
    estimates = [q.gate.name for q in asked if isinstance(q, _Question) and q.now.is_estimate]
    per_gate = FALSE_ALARMS / max(len(set(estimates)), 1)
    return tuple(
        _decide(item, per_gate / max(estimates.count(item.gate.name), 1)) if isinstance(item, _Question) else item
        for item in asked
    )


def _questions(gate: Gate, now: Evidence, baseline: Evidence | None) -> Iterator[_Question | Decision]:
    """Every bound in every place that either side knows; decided at once where there is no evidence."""
    before = baseline.measurements if baseline else {}
    places = sorted({p for metric, p in (*now.measurements, *before) if metric == gate.metric.name and gate.covers(p)})
    for bound, is_change in ((gate.level, False), (gate.change, True)):
        if bound is None:
            continue
        if not places:
            yield _decided(gate, "", bound, is_change, *_unmeasured(gate, now))
        for place in places:
            found, known = (side.get((gate.metric.name, place)) for side in (now.measurements, before))
            if not isinstance(found, Measurement):
                yield _decided(gate, str(place), bound, is_change, *_absent(gate, found))
            elif not is_change:
                yield _Question(gate, place, bound, found, None)
            elif isinstance(known, Measurement) and known.context == found.context:
                yield _Question(gate, place, bound, found, known)
            else:
                outcome = _incomparable(gate, found, known, has_baseline=baseline is not None)
                yield _decided(gate, str(place), bound, is_change, *outcome)


def _unmeasured(gate: Gate, now: Evidence) -> tuple[Outcome, str]:
    """Why there is nothing to judge anywhere."""
    possible = {metric for head in now.spec.outputs for metric in metrics_of(head)}
    if gate.metric.source == "evaluation" and gate.metric.name not in possible and gate.missing != "fail":
        return "skip", "no head of the network has it"
    return gate.missing, f"not measured: {_REMEDIES[gate.metric.source]}"


def _absent(gate: Gate, found: Unfit | None) -> tuple[Outcome, str]:
    """Why there is nothing to judge in a place that the baseline knows, or that was measured badly."""
    if isinstance(found, Unfit):
        return "unknown", f"measured, but that is no evidence: {found.reason}"
    outcome: Outcome = "fail" if gate.missing == "fail" else "unknown"
    return outcome, f"the baseline has it, this run does not: {_REMEDIES[gate.metric.source]}"


def _incomparable(
    gate: Gate, now: Measurement, before: Measurement | Unfit | None, *, has_baseline: bool
) -> tuple[Outcome, str]:
    """Why a place cannot be compared with the baseline."""
    if not has_baseline:
        return "skip", "there is no baseline to compare with"
    if before is None:
        return gate.missing, "the baseline does not have it: accept it with --update-baseline"
    if isinstance(before, Unfit):
        return "unknown", f"the baseline's is no evidence: {before.reason}"
    return "unknown", f"measured on {now.context}, but the baseline's on {before.context}"


def _decide(question: _Question, tail: float) -> Decision:
    """Compare interval and bound, with `tail` as the probability of a false alarm."""
    gate, bound, before = question.gate, question.bound, question.before
    worse = 1 if gate.metric.higher_is_worse else -1
    tails = (tail, FALSE_COMFORT) if worse > 0 else (FALSE_COMFORT, tail)
    level = question.now.level(tails)
    base = before.level(tails).found if before else 0.0
    interval = question.now.change(before, tails, relative=bound.relative) if before else level
    limit = bound.value if before is None else worse * bound.value
    favourable, unfavourable = (interval.low, interval.high)[::worse]
    allowed = limit + worse * _resolution(question, base)
    is_beyond = worse * (interval.found - limit) > 0
    cleared = 0.0 if before and question.now.is_paired else limit
    outcome: Outcome
    if is_beyond and worse * (favourable - cleared) > 0:
        outcome, reason = "fail", "beyond the bound" + (", and not by chance" if question.now.is_estimate else "")
    elif is_beyond:
        outcome, reason = "unknown", f"beyond the bound, but that may be chance: {_HINTS[gate.metric.source]}"
    elif worse * (unfavourable - allowed) > 0:
        outcome, reason = "unknown", f"within the bound, but too coarse to rely on: {_HINTS[gate.metric.source]}"
    else:
        outcome, reason = "pass", ""
    finding = _finding(question, interval, limit, (base, level.found))
    return _decided(gate, str(question.place), bound, before is not None, outcome, reason, finding)


def _resolution(question: _Question, base: float) -> float:
    """How far beyond the bound the interval may reach, in the interval's unit."""
    resolution, bound = question.gate.resolution, question.bound
    if resolution is None:
        return 0.0
    if question.before is None:
        return resolution.value * bound.value if resolution.relative else resolution.value
    if bound.relative == resolution.relative:
        return resolution.value
    return resolution.value * base if resolution.relative else resolution.value / base


def _finding(question: _Question, interval: Interval, limit: float, levels: tuple[float, float]) -> Finding:
    dimension, relative = question.gate.metric.dimension, question.bound.relative

    def write(value: float, more: int) -> str:
        if question.before is None:
            return dimension.write(value, more)
        return dimension.write_change(value, relative=relative, more=more)

    more = next((n for n in range(_DIGITS) if write(interval.found, n) != write(limit, n)), 0)
    text = write(interval.found, more)
    if question.before is not None:
        was, is_now = (dimension.write(value, 0) for value in levels)
        text = f"{was} to {is_now}: {text}" if was != is_now else f"{is_now}: {text}"
    if interval.low < interval.high:
        low, high = (write(end, more).partition(" ")[0] for end in (interval.low, interval.high))
        text += f" ({low} to {high})"
    scale = 100 if relative else 1
    unit = "%" if relative else dimension.unit(is_change=question.before is not None)
    return Finding(
        scale * interval.found, scale * interval.low, scale * interval.high, scale * limit, unit=unit, text=text
    )


def _decided(
    gate: Gate,
    place: str,
    bound: Quantity,
    is_change: bool,
    outcome: Outcome,
    reason: str,
    finding: Finding | None = None,
) -> Decision:
    described = _described(gate, bound, is_change)
    return Decision(gate.name, gate.metric.name, printable(place), described, outcome, printable(reason), finding)


def _described(gate: Gate, bound: Quantity, is_change: bool) -> str:
    if is_change:
        return f"at most {bound.text} {'more' if gate.metric.higher_is_worse else 'less'} than the baseline"
    return f"at {'most' if gate.metric.higher_is_worse else 'least'} {bound.text}"
