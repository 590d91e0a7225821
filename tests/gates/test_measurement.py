from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.evaluation.statistics import mean
from edgefer.gates.measurement import DRIFT, Exact, Scored, Timed

TAILS = (0.025, 0.025)


def hits(right, artifact="a"):
    return Scored(np.asarray(right, float)[:, np.newaxis], mean, 100, artifact, "faces")


def runs(*medians, noise=0.0, blocks=16, seed=0):
    rng = np.random.default_rng(seed)
    return Timed(tuple(m * np.exp(rng.normal(0, noise, blocks)) for m in medians), "Cortex-A72")


def test_a_count_has_no_interval():
    found = Exact(110).change(Exact(100), TAILS, relative=True)
    assert found.found == found.low == found.high == pytest.approx(0.1)
    assert Exact(0).change(Exact(0), TAILS, relative=True).found == 0
    assert Exact(1).change(Exact(0), TAILS, relative=True).found == float("inf")


def test_equal_artifacts_differ_in_nothing_however_few_the_images():
    found = hits([1, 0, 1]).change(hits([1, 0, 1]), TAILS, relative=False)
    assert (found.low, found.found, found.high) == (0, 0, 0)


def test_unequal_artifacts_that_never_differ_may_differ_by_the_rule_of_three():
    right = np.arange(300) % 2
    found = hits(right).change(hits(right, "b"), (0.05, 0.05), relative=False)
    assert found.found == 0
    assert (found.low, found.high) == (pytest.approx(-1, abs=0.01), pytest.approx(1, abs=0.01))


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=15)
def test_answers_differ_only_where_the_exact_mcnemar_test_says_so(lost, gained):
    was = np.array([1] * lost + [0] * gained + [1] * 200)
    now = np.array([0] * lost + [1] * gained + [1] * 200)
    found = hits(now).change(hits(was, "b"), TAILS, relative=False)
    stats = pytest.importorskip("scipy.stats")
    p = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1
    if p > 0.05:
        assert found.low <= 0 <= found.high
    assert found.low <= found.found <= found.high
    assert found.found == pytest.approx(100 * (gained - lost) / len(was))


def test_an_interval_of_a_change_holds_the_true_change_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        was = rng.random(1000) < 0.7
        now = np.where(rng.random(1000) < 0.10, False, was)  # loses a tenth of what was right: 7 points
        found = hits(now).change(hits(was, "b"), TAILS, relative=False)
        held += found.low <= -7 <= found.high
    assert 182 <= held <= 198  # 95 % of 200, by three standard deviations


def test_a_level_ends_where_the_number_does():
    always, never = (hits(np.full(40, right)).level(TAILS) for right in (1, 0))
    assert (always.found, always.high) == (100, 100) and 85 < always.low < 95
    assert (never.low, never.found) == (0, 0) and 5 < never.high < 15
    for sign in (1, -1):
        found = Scored(np.full((40, 1), 0.99 * sign), mean, 1, "a", "faces", least=-1).level(TAILS)
        assert -1 <= found.low < found.found < found.high <= 1
        assert (found.high if sign > 0 else -found.low) == 1


def test_few_images_say_nothing_of_a_correlation():
    features = np.random.default_rng(0).normal(size=(20, 2))
    found = Scored(features, lambda means: means[..., 0] * means[..., 1], 1, "a", "faces").level(TAILS)
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_one_run_is_not_trusted_beyond_the_assumed_drift():
    found = runs(10.0).change(runs(10.0), TAILS, relative=True)
    assert found.found == 0
    t = 2.776  # of 4 degrees of freedom
    assert found.high == pytest.approx(np.exp(t * DRIFT * 2**0.5) - 1, rel=0.15)


def test_several_runs_that_agree_narrow_the_interval():
    one = runs(10.0).change(runs(10.0), TAILS, relative=True)
    many = runs(*[10.0] * 10).change(runs(*[10.0] * 10), TAILS, relative=True)
    assert many.high < one.high / 4


def test_several_runs_that_disagree_widen_it():
    steady = runs(*[10.0] * 4).change(runs(*[10.0] * 4), TAILS, relative=True)
    drifting = runs(9.0, 11.0, 8.5, 12.0).change(runs(*[10.0] * 4), TAILS, relative=True)
    assert drifting.high - drifting.low > 3 * (steady.high - steady.low)


def test_a_restless_run_is_a_wide_one():
    calm, restless = (runs(10.0, noise=noise).level(TAILS) for noise in (0.01, 0.3))
    assert restless.high - restless.low > 4 * (calm.high - calm.low)


def test_runs_that_drift_raise_false_alarms_no_more_often_than_stated():
    """Each run has a speed of its own, 5 % apart: more than is assumed, but the runs show it."""
    alarms = 0
    for seed in range(100):
        speed = 10 * np.exp(np.random.default_rng(seed).normal(0, 0.05, 8))
        now, before = (runs(*speed[half], noise=0.02, seed=seed) for half in (slice(0, 4), slice(4, 8)))
        alarms += now.change(before, (0.1, 0.1), relative=True).low > 0
    assert alarms <= 19  # 10, by three standard deviations


def test_a_change_of_time_is_in_ms_or_a_share():
    assert runs(12.0).change(runs(10.0), TAILS, relative=True).found == pytest.approx(0.2)
    assert runs(12.0).change(runs(10.0), TAILS, relative=False).found == pytest.approx(2)


def test_no_change_is_told_while_a_frame_is_as_fast_as_ever():
    before, disturbed = runs(10.0, 10.0, 10.0), runs(16.0, 16.0, 16.0)
    assert disturbed.change(before, TAILS, relative=True).low > 0.4
    found = replace(disturbed, fastest=10.5).change(before, TAILS, relative=True)
    assert (found.found, found.low) == (pytest.approx(0.6), pytest.approx(0.05))
    assert replace(disturbed, fastest=10.5).change(before, TAILS, relative=False).low == pytest.approx(0.5)
    slower = replace(disturbed, fastest=15.9)
    assert slower.change(before, TAILS, relative=True) == disturbed.change(before, TAILS, relative=True)
