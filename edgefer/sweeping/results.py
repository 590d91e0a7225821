"""What a sweep finds: a point for each artifact, which of them no other one beats, and which is recommended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from edgefer.sweeping.request import Limits

SCHEMA = "edgefer.sweep/1"


@dataclass(frozen=True)
class Score:
    """An artifact on an image set.

    Attributes:
        accuracy: share of labelled images; None without labels.
        own_drop: percentage points below its own float network; None without labels.
        agreement: share of images on which it chooses as its float network does; None where it chooses no class.
        drop: percentage points below the best float network of the sweep; without labels, percentage points of images
            on which it does not choose as its own does.
    """

    accuracy: float | None
    own_drop: float | None
    agreement: float | None
    drop: float | None


@dataclass(frozen=True)
class Pace:
    """An artifact on a board.

    Attributes:
        value: what a frame takes.
        unit: `ms` (half of the frames took no longer), or `M instructions` on an emulated one, whose times are none.
        trusted: whether the run is evidence.
    """

    value: float
    unit: str
    trusted: bool


@dataclass(frozen=True)
class Point:
    """An artifact.

    Attributes:
        network: its name.
        options: of its conversion.
        format: `tflite` or `onnx`.
        bundle: name of the bundle that it is in.
        bytes: of its file.
        scores: by image set.
        paces: by board.
    """

    network: str
    options: Mapping[str, Any]
    format: str
    bundle: str
    bytes: int
    scores: Mapping[str, Score]
    paces: Mapping[str, Pace]

    @property
    def drop(self) -> float | None:
        """The largest of its drops; None where there is none."""
        return max((score.drop for score in self.scores.values() if score.drop is not None), default=None)

    @property
    def costs(self) -> tuple[float, ...]:
        """What is to be small: drop, bytes, and what a frame takes on each board."""
        return (inf if self.drop is None else self.drop, self.bytes, *(pace.value for pace in self.paces.values()))

    def broken(self, limits: Limits) -> Iterator[str]:
        """Each bound that it does not keep, in words."""
        if limits.max_drop is not None and (self.drop is None or self.drop > limits.max_drop):
            found = "is not known" if self.drop is None else f"is {self.drop:.2f} points"
            yield f"the drop {found}, and may be {limits.max_drop:g}"
        if limits.budget is not None and self.bytes > limits.budget:
            yield f"it has {self.bytes:,} bytes, and may have {limits.budget:,}"
        for device, pace in self.paces.items():
            limit = limits.latency_ms if pace.unit == "ms" else limits.instructions_m
            if limit is not None and pace.value > limit:
                yield f"a frame takes {pace.value:.3g} {pace.unit} on {device}, and may take {limit:g}"


@dataclass(frozen=True)
class Failed:
    """What could not be done.

    Attributes:
        what: a bundle, perhaps on a board.
        reason: why.
    """

    what: str
    reason: str


@dataclass(frozen=True)
class Sweep:
    """All points.

    Attributes:
        name: of the sweep.
        points: in the order of the request, TFLite before ONNX.
        failures: what could not be converted or measured.
        limits: that the recommended one keeps.
        devices: boards that were asked for.
    """

    name: str
    points: tuple[Point, ...]
    failures: tuple[Failed, ...]
    limits: Limits
    devices: tuple[str, ...]

    @property
    def front(self) -> tuple[Point, ...]:
        """Points that no other one beats: none is as good in everything and better in something."""
        return tuple(point for point in self.points if not any(_beats(other, point) for other in self.points))

    @property
    def recommended(self) -> Point | None:
        """Of the front's points that keep all bounds, and were measured on all boards, the fastest on the first board.

        Where there is no board, or these are equal, the one that loses least; then the smallest.
        """
        fit = [point for point in self.front if self._is_whole(point) and not list(point.broken(self.limits))]
        return min(fit, key=lambda point: (*point.costs[2:3], point.costs[0], point.bytes), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.sweep/1`."""
        front, chosen = self.front, self.recommended
        return {
            "schema": SCHEMA,
            "name": self.name,
            "bounds": {key: value for key, value in asdict(self.limits).items() if value is not None},
            "points": [
                {
                    "network": point.network,
                    "options": dict(point.options),
                    "format": point.format,
                    "bundle": point.bundle,
                    "bytes": point.bytes,
                    "drop": point.drop,
                    "evaluations": {name: asdict(score) for name, score in point.scores.items()},
                    "devices": {name: asdict(pace) for name, pace in point.paces.items()},
                    "on_front": point in front,
                    "broken_bounds": list(point.broken(self.limits)),
                }
                for point in self.points
            ],
            "recommended": chosen and {"bundle": chosen.bundle, "format": chosen.format},
            "failures": [asdict(failure) for failure in self.failures],
        }

    def _is_whole(self, point: Point) -> bool:
        return point.paces.keys() == set(self.devices)


def _beats(one: Point, other: Point) -> bool:
    if one.paces.keys() != other.paces.keys():
        return False
    pairs = list(zip(one.costs, other.costs, strict=True))
    return all(mine <= its for mine, its in pairs) and any(mine < its for mine, its in pairs)


def option_words(options: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """Options that are not the same everywhere, for people."""
    varying = [key for key in options if len({repr(each.get(key)) for each in among}) > 1]
    return ", ".join(f"{key}={_short(options[key])}" for key in varying) or "the only options"


def _short(value: Any) -> str:
    return str(value).rpartition("/")[2].lower() if isinstance(value, bool | str) else f"{value:g}"
