"""As few frames as the answer needs: levels of frame rate, and the confidence from which each one's answer is taken.

After Savchenko, "Facial Expression Recognition with Adaptive Frame Rate based on Multiple Testing Correction" (ICML
2023), restated so that it holds for a stream.  Time is cut into windows that are anchored to it.  In a window, level
l looks at the frames whose index its stride s_l divides; strides divide each other, s_1 > ...  > s_L = 1, so that a
level sees what the one before saw, and more.  Its answer is the largest mean probability, and is taken where the
share of calibration windows that were wrong though at least as sure is small enough, by Benjamini and Hochberg's
line:

    (1 + #{wrong and at least as sure}) / (1 + N)  <=  (alpha / 2) l / L

else the next level looks.  The last always answers.  Wrong is what differs from the label, or from the answer at the
full frame rate where there are no labels.  The other half of alpha is for showing it: a policy that spent all of it
would be wrong about as often as alpha says, and no number of people could show that it is not more often.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from edgefer.errors import InputError, UsageError
from edgefer.evaluation.statistics import binomial_upper
from edgefer.host.documents import read_document
from edgefer.spec import OutputSpec, Spec
from edgefer.timeline.levels import Levels
from edgefer.timeline.observed import Floats, Ints, Observed
from edgefer.timeline.score_names import main_head

SCHEMA = "edgefer.policy/1"
STRIDES = (30, 15, 5, 1)
WINDOW_S = 1.0
ALPHA = 0.05
NEVER = 2.0
"""A confidence that no answer has."""

_SPENT = 0.5
"""Of alpha, by the thresholds."""

_MAKER = "edgefer policy"


@dataclass(frozen=True)
class Outcome:
    """What a way to choose frames comes to, on windows of people that nothing was calibrated on.

    Attributes:
        name: `adaptive`, or `stride 5`.
        windows: how many.
        errors: windows in which the answer was wrong.
        upper: the share of errors is at most this, at 95 % confidence (Clopper and Pearson).
        inferred: share of the frames with a face that the network was asked on.
        levels: windows that each level answered, from the first.
    """

    name: str
    windows: int
    errors: int
    upper: float
    inferred: float
    levels: tuple[int, ...]

    @property
    def agreement(self) -> float:
        """Share of windows with the right answer."""
        return 1 - self.errors / max(self.windows, 1)

    def keeps(self, alpha: float) -> bool:
        """Whether it is shown that at most a share `alpha` of its answers is wrong."""
        return self.upper <= alpha


@dataclass(frozen=True)
class Policy:
    """Levels, what they were calibrated on, what they come to, and fixed strides beside them.

    Attributes:
        levels: what it does; where a fixed stride is better, a single level of it that always answers.
        recommended: name of the outcome that is cheapest of those that keep the bound; `stride 1` if none does.
        alpha: the bound: share of wrong answers.
        against: `labels`, or `full rate`.
        calibrated: windows of the people that thresholds were chosen on.
        network: SHA-256 of the artifact that was asked.
        outcomes: the adaptive rate first, then fixed strides.
    """

    levels: Levels
    recommended: str
    alpha: float
    against: str
    calibrated: int
    network: str
    outcomes: tuple[Outcome, ...]

    def check(self, networks: Collection[str], spec: Spec) -> None:
        """Make sure that it was calibrated on one of some artifacts, by their SHA-256, which mean `spec`.

        Raises:
            InputError: it was not.
        """
        if self.network not in networks or main_head(spec) is None:
            raise InputError(
                "the policy was calibrated with another network: its thresholds say nothing of this one",
                remedy="Make one for this bundle with `edgefer policy`.",
            )

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.policy/1`."""
        return {
            "schema": SCHEMA,
            "window_s": self.levels.window_s,
            "strides": list(self.levels.strides),
            "thresholds": list(self.levels.thresholds),
            "recommended": self.recommended,
            "alpha": self.alpha,
            "against": self.against,
            "calibrated": self.calibrated,
            "network": self.network,
            "outcomes": [
                {**asdict(outcome), "levels": list(outcome.levels), "agreement": outcome.agreement}
                for outcome in self.outcomes
            ],
        }


def read_policy(path: Path) -> Policy:
    """A policy that `edgefer policy` wrote.

    Raises:
        InputError: it cannot be read, or is something else.
    """

    def parse(data: Mapping[str, Any]) -> Policy:
        strides = tuple(int(stride) for stride in data["strides"])
        levels = Levels(float(data["window_s"]), strides, tuple(float(each) for each in data["thresholds"]))
        are_matched = len(levels.thresholds) == len(strides) and levels.thresholds[-1] <= 0
        if not (levels.window_s > 0 and are_matched and _divide(strides)):
            raise ValueError("its levels do not fit together")
        outcomes = tuple(
            Outcome(
                str(each["name"]),
                int(each["windows"]),
                int(each["errors"]),
                float(each["upper"]),
                float(each["inferred"]),
                tuple(int(count) for count in each["levels"]),
            )
            for each in data["outcomes"]
        )
        stated = (str(data["recommended"]), float(data["alpha"]), str(data["against"]), int(data["calibrated"]))
        return Policy(levels, *stated, str(data["network"]), outcomes)

    return read_document(path, SCHEMA, _MAKER).read(parse)


@dataclass(frozen=True, eq=False)
class _Window:
    """A face in a window: its frames with a face, and what the network said on each."""

    frames: Ints
    scores: Floats
    truth: int


def calibrate(
    observed: Sequence[Observed],
    spec: Spec,
    network: str,
    *,
    alpha: float = ALPHA,
    strides: Sequence[int] = STRIDES,
    window_s: float = WINDOW_S,
    label: Callable[[str, float, float], int | None] | None = None,
) -> Policy:
    """Choose thresholds on some people, and see on others what they come to.

    Args:
        observed: sources looked at on every frame; each is one person.
        spec: of the network.
        network: SHA-256 of the artifact.
        alpha: share of wrong answers that is allowed.
        strides: of the levels.
        window_s: length of a window.
        label: class of a source between two times, None where nothing is known; the answer at full rate by default.

    Raises:
        UsageError: strides do not divide each other, or alpha is no share.
        InputError: there are fewer than two people with a face, or the network says no expression.
    """
    strides = tuple(strides)
    if not _divide(strides) or strides[-1] != 1:
        raise UsageError(
            f"strides {', '.join(map(str, strides))}: each must divide the one before, and the last be 1",
            remedy="Write them like 30,15,5,1.",
        )
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha:g}; it is the share of answers that may be wrong, between 0 and 1")
    head = main_head(spec)
    if head is None:
        raise InputError("the network says no expression, whose answer a policy could keep")
    people = {each.source: windows for each in observed if (windows := _windows(each, head, window_s, label))}
    if len(people) < 2:
        raise InputError(
            f"{len(people)} of {len(observed)} sources show a face; some are calibrated on, and others judge it",
            remedy="Give clips of more people, each in a file of its own.",
        )
    ordered = sorted(people, key=lambda name: sha256(name.encode()).hexdigest())
    fit = [window for name in ordered[::2] for window in people[name]]
    held = [window for name in ordered[1::2] for window in people[name]]
    levels = Levels(window_s, strides, _thresholds(fit, strides, _SPENT * alpha))
    fixed = [Levels(window_s, (stride,), (0.0,)) for stride in strides]
    ways = {"adaptive": levels, **{f"stride {way.strides[0]}": way for way in fixed}}
    outcomes = tuple(_outcome(name, way, held) for name, way in ways.items())
    best = min((each for each in outcomes if each.keeps(alpha)), key=lambda each: each.inferred, default=outcomes[-1])
    return Policy(ways[best.name], best.name, alpha, "labels" if label else "full rate", len(fit), network, outcomes)


def _divide(strides: tuple[int, ...]) -> bool:
    """Whether each stride divides the one before, and is smaller."""
    return bool(strides) and min(strides) > 0 and all(a > b and a % b == 0 for a, b in pairwise(strides))


def _windows(
    observed: Observed, head: OutputSpec, window_s: float, label: Callable[[str, float, float], int | None] | None
) -> list[_Window]:
    found = []
    for track in observed.tracks:
        times = observed.times[track.frames]
        numbers = np.floor(times / window_s + 1e-9)
        for number in np.unique(numbers):
            here = np.flatnonzero((numbers == number) & track.inferred)
            if not len(here):
                continue
            scores = track.heads[head.name][here]
            begin, end = float(number) * window_s, float(number + 1) * window_s
            truth = label(observed.source, begin, end) if label else int(scores.mean(axis=0).argmax())
            if truth is not None:
                found.append(_Window(track.frames[here], scores, truth))
    return found


def _answer(window: _Window, stride: int) -> tuple[int, float, int]:
    """A level's answer in a window, how sure it is, and how many frames it looked at; -1 where it sees none."""
    seen = window.scores[window.frames % stride == 0]
    if not len(seen):
        return -1, -inf, 0
    mean = seen.mean(axis=0)
    return int(mean.argmax()), float(mean.max()), len(seen)


def _thresholds(windows: Sequence[_Window], strides: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    found = []
    for level, stride in enumerate(strides[:-1], 1):
        answers = [_answer(window, stride) for window in windows]
        missed = [sure for window, (said, sure, _) in zip(windows, answers, strict=True) if said != window.truth]
        wrong = np.sort(missed)[::-1]
        allowed = int(np.floor(alpha * level / len(strides) * (1 + len(windows)) - 1 + 1e-9))
        found.append(_above(wrong, allowed))
    return (*found, 0.0)


def _above(wrong: Floats, allowed: int) -> float:
    """The least threshold at or above which at most `allowed` of the wrong lie."""
    if allowed < 0:
        return NEVER
    if len(wrong) <= allowed:
        return 0.0
    return float(np.nextafter(wrong[allowed], inf))


def _outcome(name: str, levels: Levels, windows: Sequence[_Window]) -> Outcome:
    errors = looked = 0
    answered = [0] * len(levels.strides)
    for window in windows:
        for level, (stride, threshold) in enumerate(zip(levels.strides, levels.thresholds, strict=True)):
            said, sure, count = _answer(window, stride)
            if sure >= threshold or level == len(levels.strides) - 1:
                break
        errors += said != window.truth
        looked += count
        answered[level] += 1
    total = sum(len(window.frames) for window in windows)
    upper = binomial_upper(errors, len(windows))
    return Outcome(name, len(windows), errors, upper, looked / max(total, 1), tuple(answered))
