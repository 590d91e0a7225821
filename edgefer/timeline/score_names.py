"""What a network's heads are called in tables: `p_happy`, `valence`, `AU12`."""

from __future__ import annotations

from dataclasses import dataclass

from edgefer.evaluation.heads import chooses_class, decides, happy_column, thresholds
from edgefer.images import match_labels
from edgefer.spec import OutputSpec, Spec

PRESENT = 0.5
"""From which smoothed probability on a class shows."""


@dataclass(frozen=True)
class Column:
    """One number that the network says of a face.

    Attributes:
        name: in tables.
        head: the output that holds it.
        index: its column there.
        label: what it is the score of.
        threshold: from which smoothed score on it is an event, None where it never is.
    """

    name: str
    head: OutputSpec
    index: int
    label: str
    threshold: float | None


def columns(spec: Spec) -> tuple[Column, ...]:
    """All columns, in the Spec's order; names are unique."""
    found: list[Column] = []
    taken: set[str] = set()
    for head in spec.outputs:
        plain = head.kind in ("valence_arousal", "action_units")
        prefix = "p_" if head.kind == "expression" else "" if plain else f"{head.name}_"
        names = [f"{prefix}{label}" for label in head.labels]
        if taken.intersection(names):
            names = [f"{head.name}_{label}" for label in head.labels]
        taken.update(names)
        levels = _thresholds(head)
        found += [
            Column(*each)
            for each in zip(names, [head] * len(names), range(len(names)), head.labels, levels, strict=True)
        ]
    return tuple(found)


def main_head(spec: Spec) -> OutputSpec | None:
    """The head that says which expression a face has, None where none does."""
    return next((head for head in spec.outputs if head.kind == "expression"), None)


def smile_column(spec: Spec) -> Column | None:
    """The smile score: the probability of happy."""
    head = main_head(spec)
    place = happy_column(head) if head else None
    return next((column for column in columns(spec) if column.head is head and column.index == place), None)


def _thresholds(head: OutputSpec) -> list[float | None]:
    if decides(head):
        return list(map(float, thresholds(head)))
    if not chooses_class(head) or head.kind != "expression":
        return [None] * len(head.labels)
    rest = match_labels(("neutral",), head.labels).to_network[0]
    return [None if index == rest else PRESENT for index in range(len(head.labels))]
