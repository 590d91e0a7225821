"""What hours do to a board: latency, temperature and clock over time, and from when on they are steady."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from edgefer.device.latency import NANOSECONDS
from edgefer.device.session import Listener, Session
from edgefer.device.verdict import is_throttled

WINDOWS = 90
STEADY = 0.05
"""How far, as a share of it, a time may lie from its final level to count as steady."""
_FINAL = 0.25
_ENDS = 0.05
_SMOOTHED = 5


@dataclass(frozen=True)
class Window:
    """A part of a sustained run.

    Attributes:
        t_s: its end, since the run began.
        p50: by file, what half of the inferences took no longer than, ms.
        p90: by file, what nine in ten took no longer than, ms.
        frames: by file, how many.
        conditions: temperature, clock, governor and throttling flags at its end; None for what a board does not tell.
    """

    t_s: float
    p50: Mapping[str, float]
    p90: Mapping[str, float]
    frames: Mapping[str, int]
    conditions: Mapping[str, Any]

    @property
    def is_throttled(self) -> bool:
        """Whether the firmware says that it slows the board down."""
        return is_throttled(self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "t_s": self.t_s,
            "artifacts": {
                file: {"frames": frames, "p50_ms": self.p50[file], "p90_ms": self.p90[file]}
                for file, frames in self.frames.items()
            },
            "conditions": dict(self.conditions),
        }


@dataclass
class Sustained:
    """Artifacts in turns on a device, for long; windows are added while it runs.

    Attributes:
        asked_s: how long it was to last.
        windows: what was measured, in order.
    """

    asked_s: float
    windows: list[Window] = field(default_factory=list)

    @property
    def lasted_s(self) -> float:
        """How long it lasted."""
        return self.windows[-1].t_s

    @property
    def is_complete(self) -> bool:
        """Whether it lasted as long as it was to."""
        return bool(self.windows) and self.lasted_s >= self.asked_s

    @property
    def steady_s(self) -> float | None:
        """From when on no artifact's time is far from its final level; None where it never was for long.

        The final level is the median of the last quarter of the windows; a time is the median of five neighbours, so
        that one window in which the board did something else decides nothing.
        """
        last = max(round(_FINAL * len(self.windows)), 1)
        if len(self.windows) < _SMOOTHED / _FINAL:
            return None
        away = np.zeros(len(self.windows), bool)
        for file in self.windows[0].p50:
            times = np.array([window.p50[file] for window in self.windows])
            edged = np.pad(times, _SMOOTHED // 2, mode="edge")
            smooth = np.median(np.lib.stride_tricks.sliding_window_view(edged, _SMOOTHED), axis=1)
            level = np.median(times[-last:])
            away |= np.abs(smooth / level - 1) > STEADY
        first = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
        if first > len(self.windows) - last:
            return None
        return self.windows[first - 1].t_s if first else 0.0

    @property
    def throttled_s(self) -> float | None:
        """When the firmware first said that it slows the board down."""
        return next((window.t_s for window in self.windows if window.is_throttled), None)

    def at_start(self) -> dict[str, float]:
        """The median time of each artifact in the first twentieth of the windows, ms; fastest first."""
        return _ranked(self.windows[: self._ends])

    def at_end(self) -> dict[str, float]:
        """The median time of each artifact in the last twentieth of the windows, ms; fastest first."""
        return _ranked(self.windows[-self._ends :])

    @property
    def _ends(self) -> int:
        return max(round(_ENDS * len(self.windows)), 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "asked_s": self.asked_s,
            "lasted_s": self.lasted_s,
            "steady_s": self.steady_s,
            "throttled_s": self.throttled_s,
            "at_start": [{"artifact": file, "p50_ms": time} for file, time in self.at_start().items()],
            "at_end": [{"artifact": file, "p50_ms": time} for file, time in self.at_end().items()],
            "windows": [window.to_dict() for window in self.windows],
        }


def measure_sustained(
    session: Session,
    found: Sustained,
    models: Mapping[str, tuple[str, str]],
    inputs: Mapping[str, str],
    threads: int,
    listener: Listener,
) -> None:
    """Run artifacts in turns on a board, adding windows to `found` as they end.

    Args:
        session: with the board.
        found: what there is so far, also where this is left by an error of the listener.
        models: by file, format and digest of what was brought.
        inputs: digests of `pixels` and `probe`.
        threads: of the runtime.
        listener: hears of every window.

    Raises:
        DeviceError: the board failed.
        LookupError, TypeError, ValueError: its answer makes no sense.
    """

    def hear(event: Mapping[str, Any]) -> None:
        if event["event"] == "window":
            found.windows.append(_window(event, tuple(models)))
        listener(event)

    program = session.push(files("edgefer.device").joinpath("sustained_agent.py").read_bytes())
    brought = {f"model{number}": digest for number, (_, digest) in enumerate(models.values())}
    session.request(
        "run",
        listener=hear,
        paths={**inputs, **brought, "program": program},
        formats=[format for format, _ in models.values()],
        threads=threads,
        seconds=found.asked_s,
        windows=WINDOWS,
    )


def _window(event: Mapping[str, Any], names: Sequence[str]) -> Window:
    by_name = dict(zip(names, event["artifacts"], strict=True))
    return Window(
        float(event["t_s"]),
        {name: each["p50_ns"] * NANOSECONDS for name, each in by_name.items()},
        {name: each["p90_ns"] * NANOSECONDS for name, each in by_name.items()},
        {name: int(each["frames"]) for name, each in by_name.items()},
        event["conditions"],
    )


def _ranked(windows: Sequence[Window]) -> dict[str, float]:
    medians = {file: float(np.median([window.p50[file] for window in windows])) for file in windows[0].p50}
    return dict(sorted(medians.items(), key=lambda pair: pair[1]))
