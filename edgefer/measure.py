"""The two quick measurements that `convert` ends with: agreement on held-back images, and time per frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median
from time import perf_counter

import numpy as np

from edgefer.runtime import Heads, Pixels, Runner
from edgefer.spec import OutputSpec, Spec

_WARM_UP = 5
_FRAMES = 50


def agreement(
    reference: Runner,
    artifacts: Mapping[str, Runner],
    pixels: Iterable[Pixels],
    spec: Spec,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """How well each artifact does what the reference does, per head, as a number of at most 1.

    Heads that choose a class: the share of images with the same choice (top-1 agreement).  Heads that choose
    several (sigmoid): the share of equal decisions at its thresholds.  Others: Pearson correlation over all values.
    """
    outputs: dict[str, list[Heads]] = {name: [] for name in ("", *artifacts)}
    for image in pixels:
        outputs[""].append(reference(image))
        for name, runner in artifacts.items():
            outputs[name].append(runner(image))
        advance()
    return {
        name: {head.name: _head_agreement(head, outputs[""], outputs[name]) for head in spec.outputs}
        for name in artifacts
    }


def frame_times(runners: Mapping[str, Runner], pixels: Pixels) -> dict[str, float]:
    """Median milliseconds per frame of each runner, taken in turns so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(_WARM_UP + _FRAMES):
        for name, runner in runners.items():
            start = perf_counter()
            runner(pixels)
            times[name].append(perf_counter() - start)
    return {name: 1000 * median(samples[_WARM_UP:]) for name, samples in times.items()}


def _head_agreement(head: OutputSpec, reference: list[Heads], artifact: list[Heads]) -> float:
    expected, found = (np.stack([heads[head.name] for heads in runs]) for runs in (reference, artifact))
    if head.activation == "softmax" or head.kind in ("expression", "classes"):
        return float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
    if head.activation == "sigmoid":
        thresholds = np.asarray(head.thresholds or 0.5, np.float32)
        return float(np.mean((expected >= thresholds) == (found >= thresholds)))
    if expected.std() == 0 or found.std() == 0:
        return float(np.array_equal(expected, found))
    return float(np.corrcoef(expected.ravel(), found.ravel())[0, 1])
