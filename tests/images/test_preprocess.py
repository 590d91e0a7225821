import tracemalloc
from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.images import ImageSet
from edgefer.images.preprocess import iter_pixels, normalise, to_pixels
from edgefer.spec import InputSpec, Resize

SPEC = InputSpec((64, 64), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    return cv2.GaussianBlur(noise(height, width), (0, 0), 6)


sides = st.integers(1, 150)
filters = st.sampled_from(["bilinear", "bicubic", "area", "nearest"])


@given(sides, sides, sides, sides, filters)
def test_a_flat_image_stays_flat(height: int, width: int, rows: int, columns: int, resize: Resize) -> None:
    image = np.broadcast_to(np.array([3, 128, 255], np.uint8), (height, width, 3))
    pixels = to_pixels(image, replace(SPEC, size=(rows, columns), resize=resize))
    np.testing.assert_array_equal(pixels, np.broadcast_to(image[0, 0], (rows, columns, 3)))


@given(sides, sides, filters)
def test_an_image_of_the_right_size_is_untouched(height: int, width: int, resize: Resize) -> None:
    image = noise(height, width)
    for fit in ("stretch", "crop"):
        spec = replace(SPEC, size=(height, width), resize=resize, fit=fit)
        np.testing.assert_array_equal(to_pixels(image, spec), image)


def test_pixels_are_those_of_pillow_10() -> None:
    image = noise(30, 41)
    digests = {
        ("bilinear", (64, 64)): "dae24af2ada6e9a5",
        ("bilinear", (7, 9)): "13f3d580b34d616c",
        ("bicubic", (64, 64)): "1da6d5b0cfc31ee2",
        ("bicubic", (7, 9)): "5ebdd13bac6adb5b",
    }
    for (resize, size), digest in digests.items():
        pixels = to_pixels(image, replace(SPEC, size=size, resize=resize))  # type: ignore[arg-type]
        assert sha256(pixels.tobytes()).hexdigest()[:16] == digest, (resize, size)


@pytest.mark.parametrize("size", [(64, 64), (48, 100), (90, 31)])
def test_enlarging_bilinearly_agrees_with_opencv(size: tuple[int, int]) -> None:
    image = noise(30, 31)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(to_pixels(image, replace(SPEC, size=size)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(20, 20), (17, 29), (7, 3)])
def test_area_agrees_with_opencv_where_it_shrinks(size: tuple[int, int]) -> None:
    image = noise(60, 80)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    pixels = to_pixels(image, replace(SPEC, size=size, resize="area"))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "area"])
def test_shrinking_averages_a_pattern_that_is_too_fine(resize: Resize) -> None:
    stripes = np.zeros((300, 300, 3), np.uint8)
    stripes[:, ::2] = 254
    pixels = to_pixels(stripes, replace(SPEC, size=(30, 30), resize=resize))
    assert np.abs(pixels.astype(int) - 127).max() <= 8


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    image = noise(9, 6)
    pixels = to_pixels(image, replace(SPEC, size=(3, 12), resize="nearest"))
    np.testing.assert_array_equal(pixels, image[1::3].repeat(2, axis=1))


def test_crop_is_a_resize_followed_by_a_cut_out_of_the_centre() -> None:
    image = smooth(120, 200)
    pixels = to_pixels(image, replace(SPEC, size=(56, 56), fit="crop", crop_fraction=0.875))
    whole = to_pixels(image, replace(SPEC, size=(64, 106)))
    np.testing.assert_array_equal(pixels, whole[4:60, 25:81])


@given(sides, sides, sides, sides, st.floats(0.1, 1))
def test_crop_fills_every_size(height: int, width: int, rows: int, columns: int, fraction: float) -> None:
    spec = replace(SPEC, size=(rows, columns), fit="crop", crop_fraction=fraction)
    assert to_pixels(noise(height, width), spec).shape == (rows, columns, 3)


def test_a_very_long_image_takes_little_memory_to_crop() -> None:
    image = noise(2, 30_000)
    tracemalloc.start()
    to_pixels(image, replace(SPEC, size=(224, 224), fit="crop"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_normalise_orders_channels_and_scales_to_the_spec() -> None:
    pixels = np.array([[[255, 0, 51]]], np.uint8)
    spec = replace(SPEC, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    tensor = normalise(pixels, spec)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 1, 1), np.float32)
    np.testing.assert_allclose(tensor.ravel(), [1.8, -0.8, -0.5], rtol=1e-6)
    np.testing.assert_allclose(normalise(pixels, replace(spec, color="BGR")).ravel(), [0.2, -0.8, 3.5], rtol=1e-6)


def test_gray_is_made_by_the_weights_that_are_stated() -> None:
    pixels = np.array([[[255, 0, 51]]], np.uint8)
    spec = replace(SPEC, mean=(0.1,), std=(0.5,), color="GRAY")
    np.testing.assert_allclose(normalise(pixels, spec), [[[[2 * (0.299 + 0.114 / 5 - 0.1)]]]], rtol=1e-6)
    np.testing.assert_allclose(normalise(pixels, replace(spec, gray=(0, 0, 1))), [[[[0.2]]]], rtol=1e-6)


def test_images_come_one_at_a_time_and_in_order() -> None:
    read: list[str] = []

    def reader(name: str) -> np.ndarray:
        read.append(name)
        return np.full((48, 48, 3), int(name), np.uint8)

    names = tuple(map(str, range(5)))
    stream = iter_pixels(ImageSet("test", names, names, reader), SPEC)
    assert next(stream)[0, 0, 0] == 0
    assert read == ["0"]
    assert [int(pixels.mean()) for pixels in stream] == [1, 2, 3, 4]
