"""Calibration images made from the network itself, for when no faces may be used.

    pixels = synthesise(network.graph, network.spec, 256)      # uint8 (256, H, W, 3)

A network that was trained with batch norms remembers the mean and variance of every normalised channel over
its training images.  Images that give the same means and variances excite the network as its training
images did, channel by channel, which is what calibration needs; they look like nobody.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import cos, pi
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.graph.ir import Graph
from edgefer.graph.torch_module import Tensor, TorchGraph, functional, torch
from edgefer.host.progress import Advance
from edgefer.images import ImageSet
from edgefer.images.readers import ArrayReader
from edgefer.spec import InputSpec, Spec

_STEPS = 40
_RATE = 0.1
_CHROMA = 0.3  # of a photograph's colour planes, relative to its brightness
_SMALLEST_BATCH = 8
_BATCH_PIXELS = 32 * 64 * 64
_SET_PIXELS = 128 * 64 * 64
_FARTHEST = 1.0  # trained networks come to about 0.03


def synthetic_images(
    graph: Graph, spec: Spec, count: int | None = None, *, seed: int = 0, advance: Advance = lambda: None
) -> ImageSet:
    """What `synthesise` makes, as an image set; `count` is `sufficient_count` by default."""
    images = synthesise(graph, spec, count or sufficient_count(spec), seed=seed, advance=advance)
    digests = tuple(sha256(str(image.shape).encode() + image.tobytes()).hexdigest() for image in images)
    names = tuple(map(str, range(len(images))))
    return ImageSet(
        "synthetic", names, digests, ArrayReader(np.asarray(images), {name: row for row, name in enumerate(names)})
    )


def sufficient_count(spec: Spec) -> int:
    """How many images are enough: half a million pixels together, and 32 images at least."""
    height, width = spec.input.size
    return max(_SET_PIXELS // (height * width), 32)


def synthesise(
    graph: Graph, spec: Spec, count: int, *, seed: int = 0, advance: Advance = lambda: None
) -> npt.NDArray[np.uint8]:
    """Make images whose statistics at each batch norm are those that the network was trained with.

    Batches of images are optimised, by Adam, for what ZeroQ matches (Cai et al., "ZeroQ: A Novel Zero Shot
    Quantization Framework", CVPR 2020, arXiv:2001.00281): the mean and variance over the batch of every
    BatchNormalization's input.  What differs:

    - A channel's distance is relative to its own deviation, so that no layer outweighs the others.
    - An image is the sigmoid of a sum of planes from coarse to fine, so that it stays in range, and coarse
      structure comes first, as in photographs.
    - A network that was trained on gray images tells by its statistics and is given gray ones.  It
      answers colour with outliers, which no mean or variance restrains.

    No class is aimed at, as some of these methods do.  Such images make the network surer of itself than faces
    do (fer_b0's top probability is 0.88 in the mean, not 0.63), and so int8 seem closer to float than it is.

    Equal seeds give equal images on one machine; other machines, numbers of threads and versions of torch
    round differently, and the optimisation amplifies that.

    Args:
        graph: takes the normalised image, float32 (1, channels, H, W); its batch norms are not folded.
        spec: what the input means.
        count: number of images.
        seed: other seeds give other images.
        advance: called once per image's worth of work, `count` times in all.

    Returns:
        uint8 (count, H, W, 3), RGB.

    Raises:
        InputError: the graph has no batch norms, or no images match them, or an operator has no gradient here.
    """
    objective = _Objective(graph, spec.input)
    noise = torch.Generator().manual_seed(seed)
    height, width = spec.input.size
    size = max(_BATCH_PIXELS // (height * width), _SMALLEST_BATCH)
    batches = -(-count // size)
    chroma = min(
        (0.0,) if spec.input.color == "GRAY" else (0.0, _CHROMA),
        key=lambda chroma: float(objective(_Pyramid(size, spec.input, chroma, noise)().detach())),
    )
    ticks = _ticks(count, batches * _STEPS)
    images = []
    for _ in range(batches):
        pyramid = _Pyramid(size, spec.input, chroma, noise)
        for step in range(_STEPS):
            pyramid.descend(objective(pyramid()), rate=_RATE * (1 + cos(pi * step / _STEPS)) / 2)
            for _ in range(next(ticks)):
                advance()
        images.append(_to_uint8(pyramid()))
        _verify(objective, images[-1], graph.name)
    return np.ascontiguousarray(np.concatenate(images)[:count])


@dataclass(frozen=True)
class _Norm:
    """A batch norm: the value it reads, and that value's statistics in training, per channel."""

    value: str
    mean: Tensor
    variance: Tensor
    epsilon: float


class _Objective:
    """How far a batch of images, float (N, 3, H, W) in [0, 1], RGB, is from what the network was trained on."""

    def __init__(self, graph: Graph, spec: InputSpec) -> None:
        self._network = TorchGraph(graph)
        self._norms = list(_norms(self._network.graph))
        self._planes = torch.tensor(spec.planes)
        self._mean, self._std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (spec.mean, spec.std))
        if not self._norms:
            raise InputError(
                f"{graph.name}: it has no batch norms that images could be made from",
                remedy="Bring the PyTorch checkpoint (ONNX exporters fold batch norms), or images to calibrate on.",
            )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Mean of the norms' distances."""
        channels = torch.einsum("cp,nphw->nchw", self._planes, pixels)
        values = self._network((channels - self._mean) / self._std, [norm.value for norm in self._norms])
        return torch.stack([_distance(norm, value) for norm, value in zip(self._norms, values, strict=True)]).mean()


def _norms(graph: Graph) -> Iterator[_Norm]:
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            mean, variance = (torch.from_numpy(graph.constants[value].copy()) for value in node.inputs[3:5])
            yield _Norm(node.inputs[0], mean, variance, node.float("epsilon", 1e-5))


def _distance(norm: _Norm, value: Tensor) -> Tensor:
    """Mean square over the channels: how many deviations the means, and the logarithms of deviations, differ."""
    variance, mean = torch.var_mean(value, [axis for axis in range(value.ndim) if axis != 1], correction=0)
    trained = norm.variance + norm.epsilon
    return ((mean - norm.mean) ** 2 / trained + (torch.log((variance + norm.epsilon) / trained) / 2) ** 2).mean()


class _Pyramid:
    """A batch of images as planes of all sizes that halve down to 2 pixels, coarse ones weighing more."""

    def __init__(self, count: int, spec: InputSpec, chroma: float, noise: Any) -> None:
        self._size = spec.size
        levels = range(max(min(spec.size).bit_length() - 2, 0) + 1)
        sizes = [[-(-side // 2**level) for side in spec.size] for level in levels]
        self._weights = [2 ** ((level - levels[-1]) / 2) for level in levels]
        channels = 3 if chroma else 0
        self._chroma = chroma
        self._planes = [torch.randn(count, 1 + channels, *size, generator=noise, requires_grad=True) for size in sizes]
        self._optimiser = torch.optim.Adam(self._planes)

    def __call__(self) -> Tensor:
        """The images, float (N, 3, H, W) in [0, 1]."""
        total = sum(
            weight * _resized(planes, self._size) for weight, planes in zip(self._weights, self._planes, strict=True)
        )
        brightness, colour = total[:, :1], total[:, 1:]
        return torch.sigmoid(brightness + self._chroma * colour if self._chroma else brightness.expand(-1, 3, -1, -1))

    def descend(self, loss: Tensor, rate: float) -> None:
        """One step of Adam."""
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(planes, size, mode="bilinear")


def _to_uint8(pixels: Tensor) -> npt.NDArray[np.uint8]:
    return np.asarray((255 * pixels.detach()).round().to(torch.uint8).permute(0, 2, 3, 1))


def _verify(objective: _Objective, images: npt.NDArray[np.uint8], name: str) -> None:
    """What was stored must still match, also after rounding."""
    distance = float(objective(torch.from_numpy(images).permute(0, 3, 1, 2) / 255))
    if not distance < _FARTHEST:
        raise InputError(
            f"{name}: no images match its batch norms (mean square distance {distance:.2g}, {_FARTHEST} at most)",
            remedy="Is it trained, and are the Spec's mean, std and size right? If so, bring images to calibrate on.",
        )


def _ticks(items: int, steps: int) -> Iterator[int]:
    """How many of `items` are done by each of `steps`, evenly."""
    return (items * (step + 1) // steps - items * step // steps for step in range(steps))
