import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgefer.evaluation import statistics
from edgefer.evaluation.metrics import concordance, concordance_of_moments, moments
from edgefer.evaluation.statistics import bootstrap, discordant, mcnemar, paired_test


def test_images_that_are_drawn_together_are_as_many_draws_as_groups():
    values = np.random.default_rng(1).normal(size=60)
    groups = np.repeat(np.arange(60), 9)
    frames = np.repeat(values, 9)
    assert bootstrap(frames, groups=groups) == pytest.approx(bootstrap(values), rel=1e-9)
    low, high = bootstrap(frames)
    assert high - low < 0.5 * np.ptp(bootstrap(values))
    uneven = np.repeat(np.arange(60), 1 + np.arange(60) % 5)
    low, high = bootstrap(values[uneven], groups=uneven)
    assert low < values[uneven].mean() < high
    assert bootstrap(values, groups=np.zeros(60)) is None


@given(only_first=st.integers(0, 300), only_second=st.integers(0, 300))
def test_mcnemar_equals_the_binomial_test(only_first, only_second):
    total = only_first + only_second
    expected = stats.binomtest(only_first, total).pvalue if total else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_discordant_images_neither_overflows_nor_takes_long():
    assert mcnemar(5000, 5200) == pytest.approx(stats.binomtest(5000, 10200).pvalue, rel=1e-6)
    assert mcnemar(0, 5000) == 0.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_sequences_of_one_image_are_tested_as_images_are(only_first, only_second):
    first = np.array([True] * only_first + [False] * only_second + [True] * 9)
    second = np.array([False] * only_first + [True] * only_second + [True] * 9)
    alone = np.arange(len(first))
    assert paired_test(first, second, alone) == pytest.approx(paired_test(first, second), rel=1e-9)


def test_frames_that_fail_together_are_one_observation():
    first, second = np.ones(400, bool), np.ones(400, bool)
    second[:20] = False  # one sequence of twenty is lost
    sequences = np.arange(400) // 20
    assert paired_test(first, second) < 1e-5
    assert paired_test(first, second, sequences) == 1.0
    second[20:100] = False  # five of them: 2 of 32 tosses are as uneven
    assert paired_test(first, second, sequences) == pytest.approx(2 / 32)
    second[40:60] = True
    first[40:60] = False  # four lost and one gained
    assert paired_test(first, second, sequences) == pytest.approx(2 * 6 / 32)
    assert paired_test(first, first, sequences) == 1.0


def test_very_many_sequences_are_taken_to_be_normal():
    rng = np.random.default_rng(0)
    first, second, groups = rng.random(90_000) < 0.6, rng.random(90_000) < 0.6, np.arange(90_000) // 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgefer.evaluation.statistics._MOST_STEPS", 1)
        normal = paired_test(first[:6000], second[:6000], groups[:6000])
    assert paired_test(first[:6000], second[:6000], groups[:6000]) == pytest.approx(normal, abs=0.02)
    assert 0 < paired_test(first, second, groups) <= 1


def test_discordant_counts_each_side():
    first, second = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert discordant(first, second) == (1, 1)


def test_the_interval_of_continuous_values_is_scipys_to_the_last_digit():
    values = np.random.default_rng(1).gamma(0.3, size=500)
    reference = stats.bootstrap((values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0))
    assert bootstrap(values) == pytest.approx(tuple(reference.confidence_interval), rel=1e-9)


def test_the_interval_of_an_accuracy_drop_agrees_with_scipy():
    drops = np.random.default_rng(1).choice([-100.0, 0.0, 100.0], 1500, p=[0.05, 0.89, 0.06])
    reference = stats.bootstrap((drops,), np.mean, n_resamples=20_000, batch=500, rng=np.random.default_rng(0))
    assert bootstrap(drops, resamples=20_000) == pytest.approx(tuple(reference.confidence_interval), abs=0.1)


def test_the_interval_of_a_statistic_of_moments_agrees_with_scipy():
    rng = np.random.default_rng(2)
    x = rng.normal(size=300)
    y = 0.8 * x + 0.4 * rng.normal(size=300) + 0.1
    reference = stats.bootstrap(
        (x, y), lambda a, b: concordance(a, b), n_resamples=2000, method="BCa", paired=True, vectorized=False,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert bootstrap(moments(x, y), concordance_of_moments) == pytest.approx(
        tuple(reference.confidence_interval), abs=1e-6
    )


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = bootstrap(rng.random(150) < 0.9, resamples=500)
        covered += low <= 0.9 <= high
    assert 180 <= covered <= 198


def test_equal_seeds_give_equal_intervals_and_more_resamples_do_not_change_much():
    values = np.random.default_rng(4).random(400)
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) == pytest.approx(bootstrap(values, resamples=20_000, seed=7), abs=0.003)


@pytest.mark.parametrize("values", [[], [0.5], [1.0] * 100])
def test_no_interval_is_pretended_for_too_few_images_or_no_variance(values):
    assert bootstrap(np.array(values)) is None


def test_an_undefined_statistic_has_no_interval():
    assert bootstrap(np.arange(10.0), lambda means: np.full(means.shape[:-1], np.nan)) is None


def test_of_very_many_images_normal_means_give_the_interval_that_resampling_gives(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    features = np.stack([x, 0.7 * x + rng.normal(size=20_000)], axis=1)

    def ratio(means):
        return (means[..., 0] + 2) / (means[..., 1] + 3)

    drawn = bootstrap(features, ratio)
    monkeypatch.setattr(statistics, "_NORMAL", 10_000)
    normal = bootstrap(features, ratio)
    width = drawn[1] - drawn[0]
    np.testing.assert_allclose(normal, drawn, atol=0.1 * width)
    assert normal != drawn
