"""A face before a camera: on which frames to ask the network, and its answers, smoothed.  Needs numpy alone.

    timeline = FaceTimeline.load()                # one for each face that is followed
    crop = timeline.cut(picture, box)             # picture: uint8 (height, width, 3); box: x, y, width, height
    pixels = model.pixels(Image.fromarray(crop))  # model: an ExpressionModel
    scores = timeline.see(frame, time_s, partial(model.run, pixels))
    scores = timeline.see(frame, time_s, None)    # the face is not in this frame

`see` asks at once, later, or never, as video.json says; so it must hold this frame's pixels, as `partial` does and a
lambda in a loop does not.  What a network would carry from frame to frame belongs to the face: to what `ask` holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import floor, inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = Path(__file__).resolve().parents[2]
INSTANT_S = 1e-9
Values = NDArray[np.floating[Any]]
Ask = Callable[[], Values]


class FaceTimeline:
    """Follows one face in time; `asked` holds frame and level of what the last call of `see` asked the network."""

    def __init__(self, video: dict[str, Any], crop: dict[str, Any] | None) -> None:
        self.crop = crop or {"margin": 0, "square": False}
        self.gap_s: float = video["gap_s"]
        self.window_s: float = video["levels"]["window_s"]
        self.strides: list[int] = video["levels"]["strides"]
        self.thresholds: list[float] = video["levels"]["thresholds"]
        self.outputs: list[tuple[slice, float]] = []
        first = 0
        for output in video["outputs"]:
            columns = slice(first, first + output["values"])
            self.outputs.append((columns, output["back_s"]))
            if output["name"] == video["levels"]["output"]:
                self.confident = columns
            first += output["values"]
        self.asked: list[tuple[int, int]] = []
        self.window: int | None = None
        self.waiting: list[tuple[int, float, Ask]] = []
        self.answers: list[Values] = []
        self.begun = self.seen = -inf
        self.known: list[tuple[float, Values]] = []

    @classmethod
    def load(cls) -> FaceTimeline:
        """As the package says."""
        contract, video = (json.loads((PACKAGE / f"{n}.json").read_text("utf-8")) for n in ("preprocessing", "video"))
        return cls(video, contract["input"]["face_crop"])

    def rectangle(self, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
        """Left, top, width and height of what the network is shown of a face whose box is x, y, width, height."""
        x, y, width, height = box
        wide, tall = width * (1 + 2 * self.crop["margin"]), height * (1 + 2 * self.crop["margin"])
        if self.crop["square"]:
            wide = tall = max(wide, tall)
        across, down = max(round(wide), 1), max(round(tall), 1)
        return round(x + width / 2 - across / 2), round(y + height / 2 - down / 2), across, down

    def cut(self, picture: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
        """What the network is shown of a face; what lies outside of the picture repeats its edge."""
        left, top, across, down = self.rectangle(box)
        rows = np.clip(np.arange(top, top + down), 0, picture.shape[0] - 1)
        columns = np.clip(np.arange(left, left + across), 0, picture.shape[1] - 1)
        return picture[rows[:, np.newaxis], columns]

    def see(self, frame: int, time_s: float, ask: Ask | None) -> Values | None:
        """Values of all outputs, smoothed; None where nothing is known.

        Args:
            frame: its index; frames without a face count too.
            time_s: its time in seconds, later than before.
            ask: asks the network about this frame; None if the face is not in it.
        """
        self.asked = []
        window = floor(time_s / self.window_s + INSTANT_S)
        if window != self.window:
            self._finish()
        self.window = window
        if ask is not None:
            if time_s - self.seen > self.gap_s + INSTANT_S:
                self.begun = time_s
            self.seen = time_s
            if frame % self.strides[0] == 0:
                self._ask(frame, time_s, 1, ask)
            elif frame % self.strides[-1] == 0:
                self.waiting.append((frame, time_s, ask))
        self._forget(time_s)
        return self._smooth(time_s)

    def _finish(self) -> None:
        """Asks about the window that is over, level by level, until an answer is sure enough."""
        for level, (stride, threshold) in enumerate(zip(self.strides, self.thresholds, strict=True), 1):
            for frame, time_s, ask in self.waiting:
                if frame % stride == 0:
                    self._ask(frame, time_s, level, ask)
            self.waiting = [each for each in self.waiting if each[0] % stride != 0]
            if self.answers and np.mean(self.answers, axis=0)[self.confident].max() >= threshold:
                break
        self.waiting, self.answers = [], []

    def _ask(self, frame: int, time_s: float, level: int, ask: Ask) -> None:
        values = np.asarray(ask(), float)
        self.asked.append((frame, level))
        self.answers.append(values)
        self.known.append((time_s, values))

    def _forget(self, time_s: float) -> None:
        """Keeps of what is older than all means only the last, where the line begins that they are taken of."""
        self.known.sort(key=lambda point: point[0])
        oldest = time_s - max(back_s for _, back_s in self.outputs)
        while len(self.known) > 1 and self.known[1][0] <= oldest:
            self.known.pop(0)

    def _smooth(self, time_s: float) -> Values | None:
        points = [point for point in self.known if point[0] >= self.begun]
        if time_s - self.seen > self.gap_s + INSTANT_S or not points:
            return None
        result = np.zeros(len(points[0][1]))
        for columns, back_s in self.outputs:
            high = points[-1][0]
            low = max(points[0][0], min(time_s - back_s, high))
            result[columns] = mean(points, low, high)[columns]
        return result


def mean(points: list[tuple[float, Values]], low: float, high: float) -> Values:
    """Mean between two times of the line through values at times, of which `high` is the last."""
    if high - low <= INSTANT_S:
        return points[-1][1]
    area = np.zeros(len(points[0][1]))
    for (start, first), (stop, last) in pairwise(points):
        begin = max(start, low)
        if begin < stop:
            at_begin = first + (last - first) * ((begin - start) / (stop - start))
            area += (at_begin + last) / 2 * (stop - begin)
    return area / (high - low)


def traces() -> bool:
    """Run the package's golden traces; whether all passed."""
    expected = json.loads((PACKAGE / "golden" / "traces.json").read_text("utf-8"))
    boxes = [FaceTimeline.load().rectangle(case["box"]) == tuple(case["rectangle"]) for case in expected["crops"]]
    print(f"{'passed' if all(boxes) else 'FAILED'}  crops: {boxes.count(True)} of {len(boxes)} rectangles")
    passed = all(boxes)
    for trace in expected["traces"]:
        timeline, off, asked = FaceTimeline.load(), 0.0, True
        for index, frame in enumerate(trace["frames"]):
            scores = frame["scores"]
            found = timeline.see(index, frame["time_s"], scores and partial(np.array, scores))
            asked &= [list(each) for each in timeline.asked] == frame["asked"]
            if found is None or frame["smooth"] is None:
                off = max(off, 0.0 if found is frame["smooth"] else inf)
            else:
                off = max(off, float(np.abs(found - frame["smooth"]).max()))
        held = asked and off <= expected["tolerance"]
        print(f"{'passed' if held else 'FAILED'}  trace: {trace['name']}, off by {off:.6f}")
        passed &= held
    return passed
