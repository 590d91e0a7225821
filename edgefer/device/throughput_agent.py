"""Interpreters side by side on the board, each in a thread of its own; sent beside the agent, whose worker runs it."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from threading import Barrier, Event
from typing import Any

import numpy as np

LOOK_S = 0.01


def main(
    agent: Any,
    tell: Any,
    paths: dict[str, str],
    format: str,
    threads: int,
    instances: int,
    batch: int,
    frames: int,
    seconds: float,
    warmup: int,
) -> dict[str, Any]:
    """How many frames get through in a second, and how long each has to wait.

    Args:
        agent: its module.
        tell: hears how it gets on.
        paths: `model`; `probe`; and `pixels`, uint8 (N, h, w, 3).
        format: of the model.
        threads: of each interpreter.
        instances: interpreters.
        batch: images that each is given at once.
        frames: each sees so many at least.
        seconds: and for so long at least.
        warmup: inferences of each that do not count.
    """
    pixels = np.load(paths["pixels"])
    if batch > 1:
        pixels = [np.take(pixels, range(at, at + batch), axis=0, mode="wrap") for at in range(0, len(pixels), batch)]
    runners = [agent.open_runner(format, paths["model"], threads, paths["probe"]) for _ in range(instances)]

    def feed(runner: Any, number: int) -> None:
        (runner.feed_batch if batch > 1 else runner.feed)(pixels[number % len(pixels)])

    for runner in runners:
        runner.load()
        feed(runner, 0)
        for _ in range(warmup):
            runner.invoke()
    clock = time.perf_counter_ns
    taken: list[list[int]] = [[] for _ in runners]
    ready, stopped = Barrier(instances + 1), Event()

    def serve(runner: Any, times: list[int]) -> None:
        ready.wait()
        while not stopped.is_set():
            begun = clock()
            feed(runner, len(times))
            runner.invoke()
            runner.read()
            times.append(clock() - begun)

    gc.collect()
    gc.disable()
    with ThreadPoolExecutor(instances) as pool:
        served = [pool.submit(serve, runners[number], taken[number]) for number in range(instances)]
        try:
            ready.wait()
            begun = told = wall = clock()
            while min(map(len, taken)) * batch < frames or wall - begun < seconds * 1e9:
                time.sleep(LOOK_S)
                if any(future.done() for future in served):
                    break
                wall = clock()
                if wall - told > agent.TELL_S * 1e9:
                    told = wall
                    tell({"event": "alive"})
            times = sorted(each for some in taken for each in some)
        finally:
            stopped.set()
    for future in served:
        future.result()
    return {
        "duration_ns": wall - begun,
        "frames": len(times) * batch,
        **{f"p{share}_ns": times[ceil(len(times) * share / 100) - 1] for share in (50, 90, 99)},
        "conditions": agent.conditions(),
        "peak_rss_bytes": agent.peak_rss(),
    }
