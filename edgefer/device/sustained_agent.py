"""Artifacts in turns for as long as asked, on the board; sent beside the agent, whose worker runs it.

In turns, so that whatever the board's heat and clock do, they do to all of them at the same time.
"""

from __future__ import annotations

import gc
import time
from math import ceil
from typing import Any

import numpy as np

TURN_S = 1.0
"""An artifact's turn, at most."""

clock = time.perf_counter_ns


def main(
    agent: Any, tell: Any, paths: dict[str, str], formats: list[str], threads: int, seconds: float, windows: int
) -> dict[str, Any]:
    """Tell what frames took in each window of time, while it goes on: nothing is lost where it ends early.

    Args:
        agent: its module.
        tell: hears of every window.
        paths: `model0`, `model1`, ...; `probe`; and `pixels`, uint8 (N, h, w, 3).
        formats: of the models.
        threads: of the runtime.
        seconds: that all of it takes.
        windows: so many, unless frames take longer than that allows.
    """
    pixels = np.load(paths["pixels"])
    runners = [
        agent.open_runner(format, paths[f"model{number}"], threads, paths["probe"])
        for number, format in enumerate(formats)
    ]
    for runner in runners:
        runner.load()
        runner.feed(pixels[0])
        runner.invoke()
    gc.collect()
    gc.disable()
    turn = min(seconds / windows / len(runners), TURN_S) * 1e9
    begun = clock()
    passed = fed = 0
    for number in range(windows):
        taken: list[list[int]] = [[] for _ in runners]
        end = seconds * 1e9 * (number + 1) / windows
        if passed >= end:
            continue
        while passed < end:
            for place, runner in enumerate(runners):
                turn_begun = now = clock()
                while now - turn_begun < turn or not taken[place]:
                    runner.feed(pixels[fed % len(pixels)])
                    fed += 1
                    started = clock()
                    runner.invoke()
                    now = clock()
                    runner.read()
                    taken[place].append(now - started)
            passed = clock() - begun
        tell(
            {
                "event": "window",
                "t_s": passed / 1e9,
                "share": (number + 1) / windows,
                "conditions": agent.conditions(),
                "artifacts": [
                    {"frames": len(times), "p50_ns": _share(times, 0.5), "p90_ns": _share(times, 0.9)}
                    for times in taken
                ],
            }
        )
    return {}


def _share(times: list[int], share: float) -> int:
    return sorted(times)[ceil(len(times) * share) - 1]
