"""The two quick measurements that `convert` ends with: agreement on held-back images, and time per frame."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from time import perf_counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.evaluation.heads import chooses_class, decides, thresholds
from edgefer.evaluation.metrics import before_activation, decibels
from edgefer.runtime.runners import Pixels, Runner
from edgefer.spec import OutputSpec, Spec

Values: TypeAlias = Mapping[str, npt.NDArray[np.float32]]

_ROUNDS = 5
_WARM_UP = 3
_FRAMES = 10


def agreement(reference: Values, artifact: Values, spec: Spec) -> dict[str, float]:
    """How well an artifact does what the reference does, per head, as a number of at most 1.

    Heads that choose a class: the share of images with the same choice (top-1 agreement).  Heads that decide about
    each column: the share of equal decisions at its thresholds.  Others: Pearson correlation over all values.

    Args:
        reference: by head, float32 (images, columns).
        artifact: the same, on the same images.
        spec: says what the heads mean.
    """
    return {head.name: _head_agreement(head, reference[head.name], artifact[head.name]) for head in spec.outputs}


def sqnr(reference: Values, artifact: Values, spec: Spec) -> dict[str, float]:
    """Per head, signal-to-noise ratio in dB before the activation, where only what differs between images is signal.

    Args:
        reference: by head, float32 (images, columns).
        artifact: the same, on the same images.
        spec: says what the heads mean.
    """
    return {head.name: _head_sqnr(head, reference[head.name], artifact[head.name]) for head in spec.outputs}


def measure_name(head: OutputSpec) -> str:
    """What `agreement` is of a head, in a word."""
    return "agreement" if chooses_class(head) or decides(head) else "correlation"


def shown(head: OutputSpec, value: float) -> str:
    """A number that `agreement` returned for a head, for people."""
    return f"{100 * value:.1f} %" if measure_name(head) == "agreement" else f"{value:.4f}"


def frame_times(runners: Mapping[str, Runner], pixels: Pixels) -> dict[str, float]:
    """Median milliseconds per frame of each runner.

    They take turns by blocks of frames: all see the same machine, and each runs from its own warm caches, as alone.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(_ROUNDS):
        for name, runner in runners.items():
            block = [_seconds(runner, pixels) for _ in range(_WARM_UP + _FRAMES)]
            times[name].extend(block[_WARM_UP:])
    return {name: 1000 * median(samples) for name, samples in times.items()}


def _seconds(runner: Runner, pixels: Pixels) -> float:
    start = perf_counter()
    runner(pixels)
    return perf_counter() - start


def _head_agreement(head: OutputSpec, expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    if chooses_class(head):
        return float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
    if decides(head):
        return float(np.mean((expected >= thresholds(head)) == (found >= thresholds(head))))
    if expected.std() == 0 or found.std() == 0:
        return float(np.array_equal(expected, found))
    return float(np.corrcoef(expected.ravel(), found.ravel())[0, 1])


def _head_sqnr(head: OutputSpec, reference: npt.NDArray[np.float32], artifact: npt.NDArray[np.float32]) -> float:
    activation = "softmax" if chooses_class(head) else head.activation
    expected, found = (before_activation(values.astype(np.float64), activation) for values in (reference, artifact))
    signal, noise = expected - expected.mean(axis=0), found - expected
    return decibels(float(np.square(signal).sum()), float(np.square(noise).sum()))
