import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.timeline.smoothing import Smoothing, runs, smoothed


def mean_by_quadrature(times, values, low, high):
    grid = np.linspace(low, high, 20001)
    return np.trapezoid(np.interp(grid, times, values), grid) / (high - low)


@given(st.lists(st.floats(0.01, 0.4), min_size=2, max_size=12), st.integers(0, 2**32 - 1), st.floats(0.05, 2))
def test_it_is_the_mean_of_the_line_through_the_measurements(steps, seed, half_s):
    times = np.cumsum(steps)
    values = np.random.default_rng(seed).random((len(times), 2))
    for mode, back, ahead in (("centred", half_s, half_s), ("causal", 2 * half_s, 0.0)):
        found = smoothed(times, values, times, half_s, mode)
        for index, time in enumerate(times):
            low, high = max(time - back, times[0]), min(time + ahead, times[-1])
            expected = mean_by_quadrature(times, values[:, 1], low, high) if high - low > 1e-6 else values[index, 1]
            assert found[index, 1] == pytest.approx(expected, abs=1e-3)


def test_a_step_comes_late_by_the_lag_that_is_stated():
    times = np.arange(0, 20, 1 / 30)
    step = (times >= 10).astype(float)[:, np.newaxis]
    for mode in ("centred", "causal"):
        crossed = times[np.argmax(smoothed(times, step, times, 1.7, mode)[:, 0] >= 0.5)]
        assert crossed - 10 == pytest.approx(Smoothing(mode).lag("expression"), abs=0.04)


def test_denser_frames_do_not_weigh_more():
    sparse, dense = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0])
    line = lambda times: np.interp(times, [0, 1, 2], [0.0, 1.0, 0.0])[:, np.newaxis]  # noqa: E731
    asked = np.array([1.0])
    np.testing.assert_allclose(
        smoothed(sparse, line(sparse), asked, 1, "centred"), smoothed(dense, line(dense), asked, 1, "centred")
    )


def test_one_measurement_is_its_own_mean():
    assert smoothed(np.array([1.0]), np.array([[0.3]]), np.array([0.5, 1.0, 2.0]), 1.0, "centred").tolist() == [
        [0.3],
        [0.3],
        [0.3],
    ]


def test_runs_end_where_the_gap_is_too_long():
    assert runs(np.array([0.0, 0.4, 0.9, 1.6, 1.7]), 0.5) == [(0, 3), (3, 5)]
    assert runs(np.array([]), 0.5) == []
