import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.quantize.scales.histogram import COUNTED, HALF, Histogram

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
batches = st.lists(arrays(np.float32, st.integers(1, 20), elements=finite), min_size=1, max_size=6)


def counted(batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def assert_equal(a, b):
    assert (a.exponent, a.minimum, a.maximum) == (b.exponent, b.minimum, b.maximum)
    np.testing.assert_array_equal(a.counts, b.counts)


@given(batches, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_change_the_counts(batches, random):
    together = counted([np.concatenate(batches)])
    random.shuffle(batches)
    assert_equal(counted(batches), together)


@given(batches, batches)
def test_merging_equals_counting_together(first, second):
    assert_equal(counted(first).merged(counted(second)), counted([*first, *second]))


@given(batches)
def test_extremes_are_exact_and_every_value_lies_in_a_bin_that_is_filled(batches):
    values = np.concatenate(batches).astype(np.float64)
    histogram = counted(batches)
    assert histogram.counts.sum() == values.size
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    centres, weights = histogram.points()
    assert weights.sum() == pytest.approx(1)
    assert centres.min() >= values.min() and centres.max() <= values.max()
    distance = np.abs(values[:, np.newaxis] - centres).min(axis=1)
    assert (distance <= 2.0**histogram.exponent).all()


@given(batches)
def test_bins_are_no_wider_than_needed(batches):
    largest = float(np.abs(np.concatenate(batches)).max())
    histogram = counted(batches)
    assert largest < HALF * 2.0**histogram.exponent
    assert histogram.exponent == -126 or largest >= HALF * 2.0 ** (histogram.exponent - 1)


@pytest.mark.parametrize("number", [0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, -1.0])
def test_a_single_value_however_small_or_large_is_its_own_centre(number):
    value = np.full((2, 3), number, np.float32)
    centres, weights = counted([value]).points()
    np.testing.assert_array_equal(centres, value[:1, 0])
    np.testing.assert_array_equal(weights, [1.0])


def test_tiny_negative_values_beside_huge_ones_stay_negative():
    small, large = np.float32([-1e-30]), np.float32([1e38])
    together = counted([np.concatenate([small, large])])
    assert together.counts[HALF - 1] == 1
    assert_equal(together, counted([small, large]))


def test_of_a_large_array_some_values_stand_for_all():
    random = np.random.default_rng(0)
    loud = np.repeat([1.0, 8.0], 32).reshape(1, 64, 1, 1)
    values = (random.normal(size=(1, 64, 28, 28)) * loud).astype(np.float32)
    histogram = counted([values])
    assert histogram.counts.sum() == pytest.approx(values.size, rel=2 / COUNTED * values.size / COUNTED)
    assert np.count_nonzero(histogram.counts) <= COUNTED
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    centres, weights = histogram.points()
    assert (weights * centres**2).sum() == pytest.approx(np.square(values).mean(), rel=0.05)


@pytest.mark.parametrize("shape", [(1, 64, 28, 28), (1, 96, 112, 112), (1, 30, 77, 65), (1, 5000)])
def test_every_channel_row_and_column_of_a_large_array_is_counted(shape):
    for axis in range(1, len(shape)):
        along = [-1 if index == axis else 1 for index in range(len(shape))]
        values = np.broadcast_to(np.arange(1, shape[axis] + 1, dtype=np.float32).reshape(along), shape)
        centres, weights = counted([values]).points()
        assert len(centres) == shape[axis] or len(shape) == 2
        assert weights.max() < 1.6 * weights.mean()
