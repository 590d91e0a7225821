"""What a check finds, as typed values; `Check.to_dict` is the document that --json writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, TypeAlias

SCHEMA = "edgefer.check/1"

Outcome: TypeAlias = Literal["fail", "unknown", "pass", "skip"]

EXIT_CODES: Mapping[Outcome, int] = {"pass": 0, "fail": 1, "unknown": 5}


@dataclass(frozen=True)
class Finding:
    """The number that was judged.

    Attributes:
        value: in `unit`; the change against the baseline, where the bound is on that.
        low: where the true value may begin, at the confidence that the decision needs.
        high: where it may end; both equal `value` where nothing is estimated.
        limit: the bound.
        unit: `B`, `ms`, `instructions`, `%`, `points`, or `""` for plain numbers; `%` of a change is a share of the
            baseline.
        text: for people.
    """

    value: float
    low: float
    high: float
    limit: float
    unit: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an end that is not known is None."""
        return {key: value if isinstance(value, str) or isfinite(value) else None for key, value in vars(self).items()}


@dataclass(frozen=True)
class Decision:
    """One bound of one gate in one place.

    Attributes:
        gate: its name.
        metric: what was looked at.
        place: the artifact, and head, class or device where it matters; `""` where nothing was found to look at.
        bound: for people, such as `at most 8 MB`.
        outcome: `unknown` where there is not enough evidence to tell, `skip` where the gate does not apply.
        reason: in words; `""` for what passes.
        finding: None where nothing could be judged.
    """

    gate: str
    metric: str
    place: str
    bound: str
    outcome: Outcome
    reason: str = ""
    finding: Finding | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return vars(self) | {"finding": self.finding and self.finding.to_dict()}


@dataclass(frozen=True)
class Check:
    """A bundle against its gates.

    Attributes:
        name: the bundle's.
        decisions: in the order of the gates.
        notes: what a reader should know about the evidence, a sentence each.
        baseline: the text of a baseline that accepts this bundle, as `--update-baseline` writes it.
        lacking: what was not given, and so is not in that baseline: the option, and what it would tell.
    """

    name: str
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]
    baseline: str
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """`fail` if any gate failed, else `unknown` if any could not be judged, else `pass`."""
        return _outcome(self.decisions)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_CODES[self.outcome]

    @property
    def accepted_exit_code(self) -> int:
        """What it ends with where the bundle is accepted: what nobody measured is then no lack of evidence."""
        return EXIT_CODES[_outcome([d for d in self.decisions if d.outcome == "fail" or d.place])]

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.check/1`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "outcome": self.outcome,
            "decisions": [decision.to_dict() for decision in self.decisions],
            "notes": list(self.notes),
        }


def _outcome(decisions: Sequence[Decision]) -> Outcome:
    worst: tuple[Outcome, ...] = ("fail", "unknown")
    return next((outcome for outcome in worst if any(d.outcome == outcome for d in decisions)), "pass")
