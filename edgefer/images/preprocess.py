"""From any image to what a network reads, as its Spec says; calibration and evaluation share it.

pixels = to_pixels(image, spec.input)      # uint8 (h, w, 3), RGB: what the artifacts take
tensor = normalise(pixels, spec.input)     # float32 (1, channels, h, w): what the float graph takes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgefer.images import Image, ImageSet
from edgefer.spec import INPUT, InputSpec, Resize, Spec


def to_pixels(image: Image, spec: InputSpec) -> Image:
    """Resize, and crop if the Spec says so, to the network's size; RGB stays RGB.

    Networks are trained on images that Pillow resized, so this is Pillow's arithmetic.  Along an axis
    that shrinks, the bilinear (triangle) and bicubic (a = -0.5) filters are widened by the ratio, so that
    every pixel counts; weights are rounded to 22 bits, and each axis, width first, to uint8.  All sums
    are of integers that float64 holds exactly: the result is the same on every machine.  It equals
    Pillow 10's to the bit; Pillow 13 may take the height first, which moves a bilinear pixel by one level
    at most.  OpenCV's filters of these names are not widened: for photographs of 341 x 256 pixels shrunk
    to 224 x 224, INTER_LINEAR is off by 1.4 levels in the mean and by 79 at worst.  `area` averages over
    exactly the area that a pixel covers (INTER_AREA within one level), and `nearest` takes the pixel
    under its centre.

    `fit = "crop"` scales the image to cover size / crop_fraction and cuts out the centre, as
    torchvision's Resize and CenterCrop do.

    Args:
        image: uint8 (H, W, 3), or a clip of T such images, (T, H, W, 3).
        spec: size, resize, fit and crop_fraction count.

    Returns:
        uint8 (h, w, 3), or (T, h, w, 3).
    """
    if image.ndim > 3:
        return np.stack([to_pixels(frame, spec) for frame in image])
    height, width = image.shape[:2]
    (rows, top), (columns, left) = _placement((height, width), spec)
    across = _filter_bank(width, columns, left, spec.size[1], spec.resize)
    down = _filter_bank(height, rows, top, spec.size[0], spec.resize)
    return _resample_rows(_resample_rows(image.swapaxes(0, 1), across).swapaxes(0, 1), down)


def resampling_weights(size: tuple[int, int], spec: InputSpec) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """`to_pixels` for images of one size as two matrices of whole numbers, for machines that have numpy only.

    to_pixels(image, spec) = resample(down, resample(across, image)), where resample sums along an axis, width first,
    and divides by 2^22, rounding half up to uint8.

    Args:
        size: height and width of the images.
        spec: size, resize, fit and crop_fraction count.

    Returns:
        `down` (h, H) and `across` (w, W), in units of 2^-22.
    """
    dense = []
    for length, (resized, first), count in zip(size, _placement(size, spec), spec.size, strict=True):
        matrix = np.zeros((count, length), np.int32)
        row = 0
        for start, stop, weights in _filter_bank(length, resized, first, count, spec.resize):
            matrix[row : row + len(weights), start:stop] = weights
            row += len(weights)
        dense.append(matrix)
    return dense[0], dense[1]


def normalise(pixels: Image, spec: InputSpec) -> npt.NDArray[np.float32]:
    """(x / 255 - mean) / std of the Spec's channels.

    Args:
        pixels: uint8 (h, w, 3), RGB, or a clip of T such images, (T, h, w, 3).
        spec: color, gray, mean and std count.

    Returns:
        float32 (1, channels, h, w); of a clip (1, T, channels, h, w).
    """
    if pixels.ndim > 3:
        return np.stack([normalise(frame, spec) for frame in pixels], axis=1)
    rgb = pixels.transpose(2, 0, 1).astype(np.float32)
    channels = np.einsum("cp,phw->chw", np.asarray(spec.planes, np.float32), rgb) / np.float32(255)
    mean, std = (np.asarray(values, np.float32)[:, np.newaxis, np.newaxis] for values in (spec.mean, spec.std))
    return np.ascontiguousarray((channels - mean) / std)[np.newaxis]


def iter_pixels(image_set: ImageSet, spec: InputSpec) -> Iterator[Image]:
    """`to_pixels` of every image, in order, one at a time."""
    for index in range(len(image_set)):
        yield to_pixels(image_set.read(index), spec)


def iter_feeds(image_set: ImageSet, spec: Spec) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """The same as artifacts are fed, by the names of their inputs: uint8 (1, h, w, 3), and states.

    Where the network carries states, `ImageSet.arrays` has what they are at each image, by the names of the inputs.
    """
    names = [state.fed for state in spec.states]
    for index, pixels in enumerate(iter_pixels(image_set, spec.input)):
        yield {INPUT: pixels[np.newaxis], **{name: image_set.arrays[name][index] for name in names}}


Bank: TypeAlias = tuple[tuple[int, int, npt.NDArray[np.float64]], ...]

_WEIGHT_ONE = 1 << 22
_BLOCK = 32
_TILE = 1 << 18


def _placement(size: tuple[int, int], spec: InputSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """Per axis, the length to resize to and where the cut begins."""
    if spec.fit == "stretch":
        return (spec.size[0], 0), (spec.size[1], 0)
    covered = [int(side / spec.crop_fraction) for side in spec.size]
    narrow = 0 if covered[0] * size[1] >= covered[1] * size[0] else 1
    lengths = [covered[narrow] * side // size[narrow] for side in size]
    return tuple((length, round((length - side) / 2)) for length, side in zip(lengths, spec.size, strict=True))  # type: ignore[return-value]


def _resample_rows(image: Image, bank: Bank) -> Image:
    """Weighted sums over the first axis, rounded half up.

    It works in tiles that stay in cache, and that the linear algebra library does not share out among
    threads, which would then fight with those of the runtimes.
    """
    flat = image.reshape(len(image), -1)
    output = np.empty((sum(len(weights) for _, _, weights in bank), flat.shape[1]), np.uint8)
    done = 0
    for start, stop, weights in bank:
        width = max(_TILE // weights.size, 1)
        for left in range(0, flat.shape[1], width):
            sums = weights @ flat[start:stop, left : left + width].astype(np.float64)
            sums += _WEIGHT_ONE // 2
            sums /= _WEIGHT_ONE
            np.clip(sums, 0, 255, out=sums)
            output[done : done + len(weights), left : left + width] = sums
        done += len(weights)
    return output.reshape(-1, *image.shape[1:])


@lru_cache(maxsize=16)
def _filter_bank(length: int, resized: int, first: int, count: int, resize: Resize) -> Bank:
    """Weights that make `count` outputs from `first` on, of `resized`, out of `length` inputs.

    They come in blocks of 32 outputs with the inputs that those read, so that work and memory grow with
    the image and not with its square.
    """
    blocks = []
    for begin in range(first, first + count, _BLOCK):
        outputs = np.arange(begin, min(begin + _BLOCK, first + count))
        reach = 2 * max(length / resized, 1.0) + 1
        start = max(int(outputs[0] * length / resized - reach), 0)
        stop = min(int((outputs[-1] + 1) * length / resized + reach) + 1, length)
        weights = _weights(outputs[:, np.newaxis], np.arange(start, stop), length, resized, resize)
        weights /= weights.sum(axis=1, keepdims=True)
        blocks.append((start, stop, np.trunc(weights * _WEIGHT_ONE + np.copysign(0.5, weights))))
    return tuple(blocks)


def _weights(
    outputs: npt.NDArray[np.int64], inputs: npt.NDArray[np.int64], length: int, resized: int, resize: Resize
) -> npt.NDArray[np.float64]:
    """How much each of `inputs` counts for each of `outputs`, not normalised."""
    scale = length / resized
    if resize == "area":
        overlap = np.minimum(inputs + 1, (outputs + 1) * scale) - np.maximum(inputs, outputs * scale)
        return np.where(overlap > 0, overlap, 0.0)
    if resize == "nearest":
        return np.equal(inputs, (2 * outputs + 1) * length // (2 * resized)).astype(np.float64)
    distance = np.abs(inputs + 0.5 - (outputs + 0.5) * scale) / max(scale, 1.0)
    if resize == "bilinear":
        return np.where(distance < 1, 1.0 - distance, 0.0)
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
