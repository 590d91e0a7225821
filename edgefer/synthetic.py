"""Calibration images made from the network itself, for when no faces may be used.

    pixels = synthesise(network.graph, network.spec, 256)      # uint8 (256, H, W, 3)

A network that was trained with batch norms remembers the mean and variance of every normalised channel over
its training images.  Images that give the same means and variances excite the network as its training
images did, channel by channel, which is what calibration needs; they look like nobody.

Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from hashlib import sha256
from math import cos, pi

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.graph.ir import Graph
from edgefer.graph.torch_module import Tensor, TorchGraph, functional, torch
from edgefer.images import ImageSet
from edgefer.progress import Advance
from edgefer.spec import InputSpec, Spec

_STEPS = 40
_RATE = 0.1
_BATCH_PIXELS = 32 * 64 * 64
_SET_PIXELS = 256 * 64 * 64
_CHROMA = 0.3


def synthetic_images(
    graph: Graph, spec: Spec, count: int | None = None, *, seed: int = 0, advance: Advance = lambda: None
) -> ImageSet:
    """`synthesise`, as an image set; `count` is `sufficient_count` by default."""
    images = synthesise(graph, spec, count or sufficient_count(spec), seed=seed, advance=advance)
    digests = tuple(sha256(str(image.shape).encode() + image.tobytes()).hexdigest() for image in images)
    return ImageSet("synthetic", tuple(map(str, range(len(images)))), digests, lambda name: images[int(name)].copy())


def sufficient_count(spec: Spec) -> int:
    """How many images are enough: a million pixels, but 32 images at least."""
    return max(_SET_PIXELS // (spec.input.size[0] * spec.input.size[1]), 32)


def synthesise(
    graph: Graph, spec: Spec, count: int, *, seed: int = 0, advance: Advance = lambda: None
) -> npt.NDArray[np.uint8]:
    """Make images whose statistics at each batch norm are those that the network was trained with.

    The images are optimised in batches, by Adam, for what ZeroQ (Cai et al., "ZeroQ: A Novel Zero Shot
    Quantization Framework", CVPR 2020, arXiv:2001.00281) matches: the mean and variance over the batch of
    every BatchNormalization's input.  Three things differ.  The distance of each channel is relative to
    its own deviation, so that no layer outweighs the others.  An image is a sum of coarse to fine planes
    through a sigmoid: steps are smooth, pixels stay in range.  And a network that was trained on gray
    images shows it, at its first batch norm, and is given gray ones: colour that it never saw, and no batch
    norm therefore restrains, would spoil the ranges.

    The result depends on the seed, and on machine and version of torch in the last digits, which grow.

    Args:
        graph: takes the normalised image, with its batch norms not yet folded.
        spec: size, mean and std of the input count.
        count: number of images.
        seed: other seeds give other images.
        advance: called `count` times in all.

    Returns:
        uint8 (count, H, W, 3), RGB.

    Raises:
        InputError: the graph has no batch norms, or ones that no images match; or an operator has no gradient here.
    """
    network = _NormedNetwork(graph)
    noise = torch.Generator().manual_seed(seed)
    chroma = _best_chroma(network, spec.input, noise)
    size = max(_BATCH_PIXELS // (spec.input.size[0] * spec.input.size[1]), 8)
    batches = []
    for start in range(0, count, size):
        wanted = min(size, count - start)
        pyramid = _Pyramid(max(wanted, min(size, 8)), spec.input, chroma, noise)
        batches.append(_to_uint8(_optimised(network, pyramid, spec.input, wanted, advance)[:wanted]))
    images = np.concatenate(batches)
    _verify(network, spec.input, images[:size], graph.name)
    return images if spec.input.color == "RGB" else np.ascontiguousarray(images[..., ::-1])
