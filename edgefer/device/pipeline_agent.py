"""The whole way of a frame on the board, detect, crop, infer and smooth; sent beside the agent, whose worker runs it.

It needs what the agent needs, numpy and LiteRT, and no more: numpy samples pictures, where an app has faster means.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from typing import Any

import numpy as np

STAGES = ("detect", "crop", "infer", "smooth", "total")
CELLS = 48
LEAST = 0.5
"""Score of a face."""
SAME_FACE = 0.3
"""Intersection over union of boxes that are blended."""


def main(
    agent: Any,
    tell: Any,
    paths: dict[str, str],
    threads: int,
    frames: int,
    warmup: int,
    fps: float,
    margin: float,
    square: bool,
    back_s: float,
) -> dict[str, Any]:
    """Pictures to and fro, as a camera gives them; the largest face of each; times are nanoseconds.

    Args:
        agent: its module.
        tell: hears how it gets on.
        paths: `frames`, uint8 (N, H, W, 3); `detector`, BlazeFace; and `model`.
        threads: of both runtimes.
        frames: so many are timed.
        warmup: so many before them are not.
        fps: of the camera.
        margin: around a box, as a share of its sides.
        square: whether crops are.
        back_s: scores are averaged so far back.
    """
    pictures = np.load(paths["frames"])
    detect = Detector(agent.open_runner("tflite", paths["detector"], threads), pictures.shape[1:3])
    runner = agent.open_runner("tflite", paths["model"], threads)
    runner.load()
    size = runner.size()
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    clock = time.perf_counter_ns
    times: dict[str, list[int]] = {stage: [] for stage in STAGES}
    boxes: list[list[float] | None] = []
    seen: deque[tuple[float, Any]] = deque()
    late = told = 0
    begun, begun_s = clock(), time.monotonic()
    for number in range(-warmup, frames):
        if number == 0:
            gc.collect()
            begun, begun_s = clock(), time.monotonic()
        ahead = begun + round(number * 1e9 / fps) - clock()
        if number > 0 and ahead > 0:
            time.sleep(ahead / 1e9)
        elif number > 0:
            late += 1
        picture = pictures[order[number % len(order)]]
        moments = [clock()]
        box = detect(picture)
        moments.append(clock())
        if box is not None:
            runner.feed(cut(picture, box, margin, square, size))
            moments.append(clock())
            runner.invoke()
            scores = np.concatenate([values.ravel() for values in runner.read().values()])
            moments.append(clock())
            seen.append((number / fps, scores))
            while seen[-1][0] - seen[0][0] > back_s:
                seen.popleft()
            np.mean([each for _, each in seen], axis=0).argmax()
            moments.append(clock())
        if number >= 0:
            for place in range(1, len(moments)):
                times[STAGES[place - 1]].append(moments[place] - moments[place - 1])
            times["total"].append(moments[-1] - moments[0])
            if number < len(pictures):
                boxes.append(None if box is None else [float(side) for side in box])
        if clock() - told > agent.TELL_S * 1e9:
            told = clock()
            tell({"event": "progress", "share": max(number, 0) / frames})
    return {
        "begun_s": begun_s,
        "duration_ns": clock() - begun,
        "times_ns": times,
        "late_frames": late,
        "boxes": boxes,
        "runtime": runner.runtime,
        "peak_rss_bytes": agent.peak_rss(),
    }


class Detector:
    """BlazeFace, full range: x, y, width and height of the largest face, None where there is none."""

    def __init__(self, runner: Any, size: tuple[int, int]) -> None:
        self._interpreter = runner.interpreter()
        details = self._interpreter.get_input_details()[0]
        self._input, side = details["index"], int(details["shape"][1])
        outputs = {tuple(output["shape"]): output["index"] for output in self._interpreter.get_output_details()}
        self._boxes, self._scores = outputs[1, CELLS**2, 16], outputs[1, CELLS**2, 1]
        self._scale = side / max(size)
        height, width = (max(round(length * self._scale), 1) for length in size)
        self._top, self._left = (side - height) // 2, (side - width) // 2
        self._rows = np.minimum(((np.arange(height) + 0.5) / self._scale).astype(int), size[0] - 1)
        self._columns = np.minimum(((np.arange(width) + 0.5) / self._scale).astype(int), size[1] - 1)
        self._pixels = np.zeros((1, side, side, 3), np.float32)

    def __call__(self, picture: Any) -> Any:
        """Find it."""
        small = picture[self._rows[:, None], self._columns]
        inside = self._pixels[0, self._top : self._top + len(small), self._left : self._left + small.shape[1]]
        np.multiply(small, np.float32(1 / 127.5), out=inside)
        inside -= 1
        self._interpreter.set_tensor(self._input, self._pixels)
        self._interpreter.invoke()
        logits = self._interpreter.get_tensor(self._scores)[0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(logits.astype(float), -80, 80)))
        chosen = np.flatnonzero(scores >= LEAST)
        if not len(chosen):
            return None
        raw = self._interpreter.get_tensor(self._boxes)[0, chosen, :4].astype(float)
        cell = self._pixels.shape[1] / CELLS
        x = raw[:, 0] + (chosen % CELLS + 0.5) * cell - self._left
        y = raw[:, 1] + (chosen // CELLS + 0.5) * cell - self._top
        low, high = np.stack([x, y], 1) - raw[:, 2:] / 2, np.stack([x, y], 1) + raw[:, 2:] / 2
        weights = scores[chosen]
        areas = raw[:, 2] * raw[:, 3]
        seed = int(areas.argmax())
        shared = np.maximum(np.minimum(high, high[seed]) - np.maximum(low, low[seed]), 0).prod(axis=1)
        same = shared / (areas + areas[seed] - shared) >= SAME_FACE
        low, high = (np.average(side[same], axis=0, weights=weights[same]) / self._scale for side in (low, high))
        return np.concatenate([low, high - low])


def cut(picture: Any, box: Any, margin: float, square: bool, size: tuple[int, int]) -> Any:
    """The face as the network takes it, each pixel the mean of the four around its place; edges are repeated."""
    width, height = box[2:] * (1 + 2 * margin)
    if square:
        width = height = max(width, height)
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    rows = y + ((np.arange(size[0]) + 0.5) / size[0] - 0.5) * height - 0.5
    columns = x + ((np.arange(size[1]) + 0.5) / size[1] - 0.5) * width - 0.5
    top, down = _between(rows, picture.shape[0])
    left, right = _between(columns, picture.shape[1])
    return (_four(picture, top[:, None], left, down[:, None, None], right[:, None]) + 0.5).astype(np.uint8)


def _between(places: Any, length: int) -> tuple[Any, Any]:
    places = places.clip(0, length - 1)
    first = np.minimum(places.astype(int), max(length - 2, 0))
    return first, (places - first).astype(np.float32)


def _four(picture: Any, top: Any, left: Any, down: Any, right: Any) -> Any:
    above = picture[top, left] * (1 - right) + picture[top, left + 1] * right
    below = picture[top + 1, left] * (1 - right) + picture[top + 1, left + 1] * right
    return above * (1 - down) + below * down
