"""Weights and biases learned by gradient, so that the heads of the int8 network follow the float network's.

The float network is the teacher, on images, mirrored, and distorted where there are few: no labels are needed, and
few images are enough.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from edgefer.graph.ir import Array, Graph
from edgefer.graph.labelling import Labels
from edgefer.graph.subgraph import extract
from edgefer.graph.torch_module import Tensor, TorchGraph, functional, torch
from edgefer.host.memory import holding
from edgefer.plan import Plan
from edgefer.quantize.fit.fake_quantized import FakeQuantized
from edgefer.quantize.observe.drop import Answer

KEPT_EVERY = 50
"""After so many steps the state is kept."""

_BATCH_PIXELS = 32 * 64 * 64
_SMALLEST_BATCH = 8
_DIVERGENCE = 0.5  # what a nat of divergence counts beside noise over signal
_INNER = 3.0  # what noise over signal on the way counts beside that of the heads
_OFTEN = 8
"""An image that is learned from more often than this is distorted; of so many images, mirrored ones are enough.

What is learned from faces as they are is 0.1 dB closer on others than what is learned from distorted ones."""

_WARM_UP = 20
_WEIGHT_RATE = 4e-3  # steps of the weight's scale
_BIAS_RATE = 4e-3  # steps of the layer's output
_ADAM = ("exp_avg", "exp_avg_sq", "step")


class Kept(Protocol):
    """Where the state of learning is kept."""

    def read(self) -> Mapping[str, Array] | None:
        """What was written last; None where there is none."""

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Keep it instead of what was written before."""


def learn(
    graph: Graph,
    plan: Plan,
    heads: Mapping[str, Answer],
    images: Sequence[Array],
    *,
    reference: Graph,
    steps: int,
    rate: float = 1.0,
    advance: Callable[[], None] = lambda: None,
    kept: Kept | None = None,
) -> Graph:
    """`graph` with weights, on the Plan's integer grid, and biases that bring its heads close to the float network's.

    What is made small, by Adam, is the mean over heads of noise over signal, to which a head that softmax follows adds
    the Kullback-Leibler divergence of its probabilities: that is what decides which class is the largest.

    Equal arguments give equal results on one machine; other machines, numbers of threads and versions of torch
    round differently.

    Args:
        graph: equal to the float network in its outputs, though not in its nodes; biases may be corrected already.
        plan: of `graph`; its scales stay as they are, and fit the weights returned.
        heads: the values to follow, each (1, columns), and what they are read as.
        images: calibration images, as the graph's input takes them: uint8 (1, H, W, 3).
        reference: the float network, with the same input and heads.
        steps: of the optimisation.
        rate: how large they are, over what suits weights that need no more than to be rounded well.
        advance: called after each step.
        kept: where the state is kept, so that what was interrupted goes on to the same result.

    Raises:
        UnsupportedOperatorError: an operator has no gradient here.
    """
    student = FakeQuantized(extract(graph, graph.inputs, tuple(heads)), plan)
    follow(
        student,
        reference,
        heads,
        [
            {"params": list(student.weights.values()), "peak": rate * _WEIGHT_RATE},
            {"params": list(student.biases.values()), "peak": rate * _BIAS_RATE},
        ],
        images,
        steps,
        advance,
        kept,
    )
    return graph.with_constants(student.constants())


def follow(
    student: Callable[[Tensor, Sequence[str]], Sequence[Tensor]],
    reference: Graph,
    heads: Mapping[str, Answer],
    groups: Sequence[Mapping[str, Any]],
    images: Sequence[Array],
    steps: int,
    advance: Callable[[], None],
    kept: Kept | None = None,
    inner: Mapping[str, tuple[int, Labels]] = MappingProxyType({}),
) -> None:
    """Bring a student's heads close to those of the reference, by Adam on batches of images.

    Args:
        student: computes the values named of a batch.
        reference: the float network to follow, with the same input and heads.
        heads: the values to follow, each (1, columns), and what they are read as.
        groups: the `params` to learn, which the student computes from, and the `peak` of their rate.
        images: uint8 (1, H, W, 3).
        steps: of Adam.
        advance: called after each.
        kept: where the state is kept, so that what was interrupted goes on to the same result.
        inner: values on the way that are to stay alike too: the axis of their channels, and which of the reference's
            the student has.

    Raises:
        UnsupportedOperatorError: an operator of the reference has no gradient here.
    """
    names = (*heads, *inner)
    teacher = TorchGraph(extract(reference, reference.inputs, names))
    batches = _Batches(images, steps)
    with torch.enable_grad(), holding():
        optimiser = torch.optim.Adam([dict(group) for group in groups], betas=(0.9, 0.99), fused=True)
        done = _restore(kept, optimiser, batches) if kept is not None else 0
        for _ in range(done):
            advance()
        for step in range(done, steps):
            batch = batches.draw()
            with torch.no_grad():
                expected = teacher(batch, names)
            whole, found = (dict(zip(names, values, strict=True)) for values in (expected, student(batch, names)))
            loss = torch.stack([divergence(whole[name], found[name], heads[name]) for name in heads]).mean()
            if inner:
                left = {
                    name: whole[name].index_select(axis, torch.from_numpy(channels))
                    for name, (axis, channels) in inner.items()
                }
                loss = loss + _INNER * torch.stack([_noise(left[name], found[name]) for name in left]).mean()
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * _rate(step, steps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            advance()
            if kept is not None and ((step + 1) % KEPT_EVERY == 0 or step + 1 == steps):
                _keep(kept, optimiser, batches, step + 1, goes_on=step + 1 < steps)


def _restore(kept: Kept, optimiser: Tensor, batches: _Batches) -> int:
    """Go on from what was kept; returns the steps that were done."""
    found = kept.read()
    if found is None:
        return 0
    parameters = [tensor for group in optimiser.param_groups for tensor in group["params"]]
    with torch.no_grad():
        for index, tensor in enumerate(parameters):
            tensor.copy_(torch.from_numpy(found[f"{index}"]))
            state = {name: torch.from_numpy(found[key]) for name in _ADAM if (key := f"{index}/{name}") in found}
            optimiser.state[tensor] = state
    batches.random.set_state(torch.from_numpy(found["random"]))
    return int(found["done"])


def _keep(kept: Kept, optimiser: Tensor, batches: _Batches, done: int, *, goes_on: bool) -> None:
    """Keep the weights, and if it goes on what Adam knows of them, which takes twice as much."""
    arrays = {"done": np.array(done), "random": batches.random.get_state().numpy()}
    for index, tensor in enumerate(tensor for group in optimiser.param_groups for tensor in group["params"]):
        arrays[f"{index}"] = tensor.detach().numpy()
        if goes_on:
            arrays |= {f"{index}/{name}": optimiser.state[tensor][name].numpy() for name in _ADAM}
    kept.write(arrays)


def _rate(step: int, steps: int) -> float:
    """What share of the peak a step learns at: up in a straight line, down along a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + cos(pi * step / steps)) / 2


def divergence(expected: Tensor, found: Tensor, answer: Answer) -> Tensor:
    """How far a head is from what is expected of it, (N, columns) each; what is made small."""
    if answer.activation != "softmax":
        return _noise(expected, found)
    centred = [values - values.mean(1, keepdim=True) for values in (expected, found)]
    divergence = functional.kl_div(found.log_softmax(1), expected.softmax(1), reduction="batchmean")
    return _noise(*centred) + _DIVERGENCE * divergence


def _noise(expected: Tensor, found: Tensor) -> Tensor:
    """Noise over signal."""
    return (found - expected).square().sum() / expected.square().sum().clamp_min(1e-12)


class _Batches:
    """Batches of images, some mirrored; those that are seen often are turned, scaled, moved and lit at random, too."""

    def __init__(self, images: Sequence[Array], steps: int) -> None:
        self._images = torch.from_numpy(np.concatenate(images))
        self.random = torch.Generator().manual_seed(0)
        count, height, width, _ = self._images.shape
        self._size = min(max(_BATCH_PIXELS // (height * width), _SMALLEST_BATCH), count)
        self._are_distorted = steps * self._size > _OFTEN * count

    def draw(self) -> Tensor:
        """The next batch: whole numbers in [0, 255] as float (N, H, W, 3)."""
        chosen = torch.randperm(len(self._images), generator=self.random)[: self._size]
        images = self._images[chosen]
        mirror = self._uniform(-1, 1).sign()
        if self._are_distorted:
            return self._distorted(images, mirror)
        return torch.where(mirror.reshape(-1, 1, 1, 1) < 0, images.flip(2), images).float()

    def _distorted(self, images: Tensor, mirror: Tensor) -> Tensor:
        images = images.permute(0, 3, 1, 2).float()
        scale, angle = self._uniform(0.85, 1.15), self._uniform(-0.15, 0.15)
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        right, down = self._uniform(-0.12, 0.12), self._uniform(-0.12, 0.12)
        transform = torch.stack([mirror * cosine, -sine, right, mirror * sine, cosine, down], dim=1).reshape(-1, 2, 3)
        where = functional.affine_grid(transform, images.shape, align_corners=False)
        moved = functional.grid_sample(images, where, padding_mode="border", align_corners=False)
        gain, offset = (self._uniform(*bounds).reshape(-1, 1, 1, 1) for bounds in ((0.8, 1.2), (-20, 20)))
        return (moved * gain + offset).clamp(0, 255).round().permute(0, 2, 3, 1).contiguous()

    def _uniform(self, low: float, high: float) -> Tensor:
        return torch.rand(self._size, generator=self.random) * (high - low) + low
