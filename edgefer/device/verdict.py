"""Whether a run is to be trusted: nothing missing, nothing throttled, and times that do not wander."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from edgefer.device.latency import Latency, quantile

Status: TypeAlias = Literal["trusted", "throttled", "noisy", "incomplete"]

HOT_C = 80.0
"""Where a Raspberry Pi begins to lower its clock."""
CLOCK_KEPT = 0.9
"""Share of the highest clock of a run below which the clock counts as lowered."""
SETTLING_S = 1.0
"""A governor raises the clock in this time after work begins."""
INTERVAL_WIDTH = 0.05
"""Of the median's 95 % interval, as a share of the median: a wider one decides nothing."""
WANDER = 0.1
"""Between the medians of a run's quarters, as a share of the whole run's."""
DISTURBED = 1.5
"""Times the fastest frame: where the median is slower, something else had the machine for most of the run."""
JUMP_S = 1.0
FLAGS = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of `vcgencmd get_throttled` that tell of now; 16 bits further up, of any time since boot."""


def is_throttled(conditions: Mapping[str, Any]) -> bool:
    """Whether the firmware says that it slows the board down now; not where it says nothing."""
    flags = conditions["throttled"]
    return flags is not None and int(flags, 16) & 0xF != 0


@dataclass(frozen=True)
class Verdict:
    """What a run is worth as evidence, and why; a trusted run may have remarks."""

    status: Status
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"status": self.status, "reasons": list(self.reasons)}


def judge(
    machine: Mapping[str, Any],
    conditions: Sequence[Mapping[str, Any]],
    times: Mapping[str, Latency],
    missing: Sequence[str] = (),
    *,
    paced: bool = False,
    jump_s: float = 0.0,
) -> Verdict:
    """The verdict on a run; on an emulated board times are no evidence, and so cannot be noisy.

    Args:
        machine: what the device says of itself.
        conditions: temperature, clock and flags, from before to after; `settled` is true where the clock should be.
        times: of invocations, by what was invoked.
        missing: what should have run and did not, a sentence each.
        paced: the device rests between frames, so its clock may fall.
        jump_s: how far someone set the device's clock while it ran.
    """
    lacking = [*missing, *_kernels(machine)]
    slowed = [*_flags(conditions), *_heat(machine, conditions), *([] if paced else _clock(conditions))]
    noise = [] if machine["emulated"] else [line for name, latency in times.items() for line in _noise(name, latency)]
    if abs(jump_s) > JUMP_S:
        noise.append(f"the board's clock was set by {jump_s:+.1f} s, or it slept, during the run")
    remarks = ["EMULATED: its milliseconds mean nothing; what it computes, and its instructions, do"]
    found: dict[Status, list[str]] = {"incomplete": lacking, "throttled": slowed, "noisy": noise}
    worst: list[Status] = [status for status, reasons in found.items() if reasons]
    return Verdict(
        worst[0] if worst else "trusted", (*lacking, *slowed, *noise, *(remarks if machine["emulated"] else []))
    )


def _kernels(machine: Mapping[str, Any]) -> list[str]:
    if machine["cpu_lists"] or not machine["kernel"].startswith("Linux"):
        return []
    return ["/sys/devices/system/cpu is not readable there: LiteRT silently uses other kernels, with other speed"]


def _flags(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    flags = [int(c["throttled"], 16) for c in conditions if c["throttled"] is not None]
    if not flags:
        return []
    seen = 0
    for value in flags:
        seen |= value & 0xF | (value & ~flags[0]) >> 16 & 0xF
    names = [name for bit, name in FLAGS.items() if seen >> bit & 1]
    return [f"the firmware reported {', '.join(names)} (get_throttled {max(flags):#x})"] if names else []


def _heat(machine: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    hottest = max((c["temperature_c"] for c in conditions if c["temperature_c"] is not None), default=0.0)
    if hottest < HOT_C or not machine["machine"].startswith(("aarch64", "arm")):
        return []
    return [f"it was {hottest:.1f} C hot; boards lower their clock from {HOT_C:.0f} C on"]


def _clock(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    clocks = [c["clock_hz"] for c in conditions if c.get("settled") and c["clock_hz"]]
    if not clocks or min(clocks) >= CLOCK_KEPT * max(clocks):
        return []
    return [f"its clock fell from {max(clocks) / 1e6:.0f} to {min(clocks) / 1e6:.0f} MHz during the run"]


def _noise(name: str, latency: Latency) -> list[str]:
    low, high = latency.ci95["p50"]
    if high - low > INTERVAL_WIDTH * latency.p50:
        share = 100 * (high - low) / latency.p50
        return [f"{name}: the median's 95 % interval is {share:.0f} % of it wide; {100 * INTERVAL_WIDTH:.0f} % decides"]
    medians = [quantile(part, 0.5) for part in np.array_split(latency.samples, 4) if len(part)]
    if max(medians) - min(medians) > WANDER * latency.p50:
        return [f"{name}: the median wandered from {min(medians):.3f} to {max(medians):.3f} ms during the run"]
    if latency.p50 > DISTURBED * latency.min:
        return [f"{name}: the median frame took {latency.p50:.3f} ms, the fastest {latency.min:.3f} ms"]
    return []
