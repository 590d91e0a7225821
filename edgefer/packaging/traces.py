"""Golden traces: sequences of scores, and what comes of them: which frames are looked at, and what is smoothed when.

golden/traces.json, schema `edgefer.traces/1`.  `timeline.live` makes them, so what passes computes what edgefer does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import exp
from random import Random
from typing import Any

import numpy as np

from edgefer.bundle import Bundle
from edgefer.faces.crop import rectangle
from edgefer.faces.face import Face
from edgefer.images import Image
from edgefer.packaging.on_video import CAUSAL, EVERY_FRAME
from edgefer.spec import CropSpec, OutputSpec, Spec
from edgefer.timeline.asking import Answers, ByLevels
from edgefer.timeline.levels import Levels
from edgefer.timeline.live import Live
from edgefer.timeline.policy import Policy
from edgefer.timeline.score_names import main_head

SCHEMA = "edgefer.traces/1"
TOLERANCE = 1e-5
"""How far a smoothed value may be off: scores are rounded to 4 decimals, means to 6."""

_BOXES = ((100.0, 50.0, 60.0, 80.0), (10.5, 20.25, 31.0, 33.0), (-12.0, 3.5, 45.0, 45.0), (7.3, 9.9, 128.61, 131.47))


def traces_json(bundle: Bundle, policy: Policy | None) -> bytes:
    """golden/traces.json: one frame to a line."""
    levels = policy.levels if policy else EVERY_FRAME
    traces = []
    for name, frames in _scenes().items():
        lines = ",\n".join(f"    {json.dumps(line)}" for line in _trace(name, frames, bundle.spec, levels))
        traces.append(f'  {{"name": {json.dumps(name)}, "frames": [\n{lines}\n  ]}}')
    crop = bundle.spec.input.crop or CropSpec()
    boxes = _BOXES if crop.align != "five_points" else ()  # points, not boxes, say what is cut out
    crops = ",\n".join(f"  {json.dumps({'box': box, 'rectangle': rectangle(Face(*box), crop)})}" for box in boxes)
    return (
        f'{{\n"schema": "{SCHEMA}",\n"tolerance": {TOLERANCE},\n'
        f'"crops": [\n{crops}\n],\n"traces": [\n{",".join(traces)}\n]\n}}\n'
    ).encode()


def _scenes() -> dict[str, list[tuple[float, bool]]]:
    """Times of frames, and whether the face is in them."""
    chance = Random("times")
    irregular, time_s = [], 12.34
    for _ in range(100):
        time_s = round(time_s + 0.01 + 0.14 * chance.random(), 6)
        irregular.append((time_s, chance.random() > 0.15))
    hidden = {*range(7), *range(60, 72), *range(101, 126)}  # late, for 0.4 s, and for longer than any gap
    return {
        "steady": [(round(index / 30, 6), True) for index in range(150)],
        "out of sight": [(round(index / 30, 6), index not in hidden) for index in range(180)],
        "irregular": irregular,
    }


def _trace(name: str, frames: list[tuple[float, bool]], spec: Spec, levels: Levels) -> Iterator[Mapping[str, Any]]:
    chance = Random(name)
    scores = [_scores(spec, chance, int(time_s)) for time_s, _ in frames]

    def network(pixels: Image) -> Answers:
        high, low = map(int, pixels[0, 0, :2])
        answers, first = {}, 0
        for output in spec.outputs:
            answers[output.name] = np.array(scores[256 * high + low][first : first + len(output.labels)])
            first += len(output.labels)
        return answers

    head = main_head(spec) or spec.outputs[0]
    live = Live(ByLevels(network, levels, head.name), spec.outputs, CAUSAL)
    for frame, (time_s, is_seen) in enumerate(frames):
        pixels = np.array([[(*divmod(frame, 256), 0)]], np.uint8)
        moment = live.see(frame, time_s, pixels if is_seen else None)
        yield {
            "time_s": time_s,
            "scores": scores[frame] if is_seen else None,
            "asked": [[each.frame, each.level] for each in moment.asked],
            "smooth": None if moment.smooth is None else [round(float(value), 6) for value in moment.smooth],
        }


def _scores(spec: Spec, chance: Random, second: int) -> list[float]:
    """What a network might say: of many minds in one second, clear in the next, and sure in the one after."""
    clarity = (0.0, 2.5, 8.0)[second % 3]
    return [round(value, 4) for output in spec.outputs for value in _values(output, chance, second, clarity)]


def _values(output: OutputSpec, chance: Random, second: int, clarity: float) -> list[float]:
    logits = [chance.random() + clarity * (index == second % len(output.labels)) for index in range(len(output.labels))]
    if output.activation == "softmax":
        total = sum(map(exp, logits))
        return [exp(logit) / total for logit in logits]
    if output.activation == "sigmoid":
        return [1 / (1 + exp(2 - logit)) for logit in logits]
    return [chance.random() * 2 - 1 for _ in logits]
