"""Resizes that LiteRT has no kernel for are products and gathering; they compute what ONNX Runtime computes."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import network, operators

IMAGE = (1, 2, 7, 5)
PLACINGS = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


def assert_all_agree(graph):
    feeds = sample(graph)
    after = normalise(graph)
    expected = run_onnx(graph, feeds)["y"]
    np.testing.assert_allclose(run_onnx(after, feeds)["y"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run_tflite(emit_tflite(after, Plan()), feeds)["y"], expected, rtol=1e-4, atol=1e-4)


def resized(attributes, size=None, scales=None, x=IMAGE):
    if size is None:
        return network(f"y = Resize<{attributes}>(x, , s)", "y", {"s": np.array(scales, np.float32)}, x)
    return network(f"y = Resize<{attributes}>(x, , , s)", "y", {"s": np.array(size)}, x)


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("size", [(14, 10), (4, 3), (9, 8), (1, 1)])
def test_sizes(mode, placing, size):
    assert_all_agree(resized(f'mode="{mode}", coordinate_transformation_mode="{placing}"', (1, 2, *size)))


@pytest.mark.parametrize("placing", PLACINGS[:-1])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("scales", [(0.6, 0.6), (1.3, 1.7), (0.51, 2.5)])
def test_scales_that_do_not_divide(mode, placing, scales):
    assert_all_agree(resized(f'mode="{mode}", coordinate_transformation_mode="{placing}"', scales=(1, 1, *scales)))


@pytest.mark.parametrize("placing", PLACINGS)
@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("size", [(14, 10), (4, 3), (9, 8)])
def test_nearest(placing, rounding, size):
    attributes = f'mode="nearest", coordinate_transformation_mode="{placing}", nearest_mode="{rounding}"'
    assert_all_agree(resized(attributes, (1, 2, *size)))


@pytest.mark.parametrize(
    "attributes",
    [
        'mode="linear", antialias=1',
        'mode="cubic", antialias=1',
        'mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5',
        'mode="cubic", cubic_coeff_a=-0.5',
    ],
)
@pytest.mark.parametrize("size", [(14, 10), (3, 2), (5, 8)])
def test_what_samples_are_made_of(attributes, size):
    assert_all_agree(resized(attributes, (1, 2, *size)))


@pytest.mark.parametrize(("x", "scales"), [((1, 2, 7), (1, 1, 1.5)), ((1, 2, 3, 4, 5), (1, 1, 2, 2, 1.5))])
def test_one_and_three_dimensions(x, scales):
    assert_all_agree(resized('mode="linear"', scales=scales, x=x))


def test_a_resize_that_litert_has_stays():
    graph = resized('mode="linear"', scales=(1, 1, 2, 2))
    assert operators(normalise(graph)) == ["Resize"]


@pytest.mark.parametrize(("placing", "scale"), [("align_corners", 0.6), ("half_pixel", 1.1)])
def test_scales_that_runtimes_understand_otherwise_are_refused_by_name(placing, scale):
    graph = resized(f'mode="linear", coordinate_transformation_mode="{placing}"', scales=(1, 1, scale, scale))
    with pytest.raises(InputError, match=f"coordinate_transformation_mode={placing} and scales that do not divide"):
        normalise(graph)


def test_crops_are_left_alone_for_the_emitter_to_refuse():
    attributes = 'mode="linear", coordinate_transformation_mode="tf_crop_and_resize"'
    constants = {"r": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32), "s": np.array([1, 2, 7, 7])}
    graph = network(f"y = Resize<{attributes}>(x, r, , s)", "y", constants, IMAGE)
    assert normalise(graph) is graph


def test_an_axis_that_no_image_has_is_refused_by_name():
    with pytest.raises(
        InputError, match=r"\(Resize\) makes \[1, 2, 200000, 5\] of \[1, 2, 7, 5\]: no axis of an image"
    ):
        normalise(resized('mode="linear"', (1, 2, 200_000, 5)))
