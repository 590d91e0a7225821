import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.ranges import (
    Caution,
    affine,
    hard_swish,
    identity,
    mse_optimal,
    per_channel_symmetric,
    sigmoid,
    silu,
)

VIEWS = [identity, sigmoid, silu, hard_swish, np.tanh]
samples = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1000, 1000, width=32))


def histogram_of(values):
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def error(histogram, params, view):
    centres, weights = histogram.points()
    stored = params.dequantize(params.quantize(centres)).astype(np.float64)
    return weights @ np.square(view(stored) - view(centres))


@example(np.float32([115, *[-702] * 35]), identity)
@given(samples, st.sampled_from(VIEWS))
def test_the_optimum_is_never_worse_than_the_whole_range(values, view):
    histogram = histogram_of(values)
    best = error(histogram, mse_optimal(histogram, view), view)
    whole = error(histogram, affine(histogram.minimum, histogram.maximum), view)
    assert best <= whole * (1 + 1e-5) + 1e-12


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_zero_is_stored_exactly_and_both_ends_to_one_step(a, b):
    low, high = sorted((a, b))
    params = affine(low, high)
    assert params.dequantize(params.quantize(np.zeros(1)))[0] == 0
    (scale,) = params.scale
    assert np.float32(scale) == scale > 0
    ends = np.array([min(low, 0), max(high, 0)])
    if ends.any() and scale != 1.0:
        np.testing.assert_allclose(params.dequantize(params.quantize(ends)), ends, rtol=0, atol=scale * 1.01)


def test_a_tensor_that_is_always_zero_gets_a_harmless_scale():
    params = affine(0, 0)
    assert (params.scale, params.zero_point) == ((1.0,), (-128,))
    assert mse_optimal(histogram_of([0.0])) == params


def test_an_outlier_is_clipped_where_that_serves_the_rest():
    histogram = histogram_of([12.0])
    for _ in range(50):
        histogram.add(np.random.default_rng(0).standard_normal(20_000, np.float32))
    (best,), (whole,) = mse_optimal(histogram).scale, affine(histogram.minimum, histogram.maximum).scale
    assert best < 0.75 * whole
    (kept,) = mse_optimal(histogram, caution=Caution(clipped=1e6)).scale
    assert kept > 0.98 * whole
    (wide,) = mse_optimal(histogram, caution=Caution(clipped=1e6, beyond=1.25)).scale
    assert wide == pytest.approx(1.25 * kept, rel=1e-6)


def test_what_silu_flattens_is_clipped_under_its_view_only():
    rng = np.random.default_rng(0)
    histogram = histogram_of([*rng.normal(0, 2, 20_000), *rng.uniform(-72, -20, 2_000)])

    def low(view):
        params = mse_optimal(histogram, view)
        return params.scale[0] * (-128 - params.zero_point[0])

    assert low(silu) > -15
    assert low(identity) < -60


@pytest.mark.parametrize("view", VIEWS)
def test_extreme_values_raise_no_warnings(view):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = mse_optimal(histogram_of([-1e6, 0.5, 1e6]), view)
    assert params.scale[0] > 0


def test_views_are_the_functions_they_are_named_after():
    x = np.linspace(-20, 20, 401)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), atol=1e-15)
    np.testing.assert_allclose(silu(x), x / (1 + np.exp(-x)), atol=1e-14)
    np.testing.assert_allclose(hard_swish(x), np.where(x < -3, 0, np.where(x > 3, x, x * (x + 3) / 6)), atol=1e-14)


@given(
    arrays(np.float32, (4, 3, 2), elements=st.floats(-10, 10, width=32)),
    st.integers(0, 2),
)
def test_symmetric_scales_hold_every_channel(weights, axis):
    floor = np.zeros(weights.shape[axis])
    params = per_channel_symmetric(weights, axis, floor)
    assert len(params.scale) == weights.shape[axis] == len(params.zero_point)
    assert set(params.zero_point) == {0}
    stored = params.quantize(weights)
    assert np.abs(stored).max() <= 127
    scale = np.asarray(params.scale).reshape([-1 if index == axis else 1 for index in range(3)])
    assert (np.abs(params.dequantize(stored) - weights) <= scale * 0.501).all()


def test_scales_are_no_smaller_than_their_floor():
    floor = np.array([0.5, 0.0])
    params = per_channel_symmetric(np.float32([[1, -1], [1, 2]]), 0, floor)
    assert params.scale == (0.5, float(np.float32(2 / 127)))
