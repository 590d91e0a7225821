import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats
from sklearn import metrics as sklearn

from edgefer.evaluation import metrics

CLASSES = 5
seeds = st.integers(0, 2**32 - 1)
levels = st.floats(0, 1, width=32)


def probabilities(seed, count=40, sharpness=3.0):
    rng = np.random.default_rng(seed)
    return special.softmax(rng.normal(size=(count, CLASSES)) * sharpness, axis=1).astype(np.float32)


@given(labels=arrays(np.int64, 30, elements=st.integers(0, CLASSES - 1)), seed=seeds)
def test_confusion_recall_and_macro_f1_equal_scikit_learn(labels, seed):
    found = probabilities(seed, 30).argmax(axis=1)
    counts = metrics.confusion(labels, found, CLASSES)
    present = np.unique(labels)
    assert np.array_equal(counts, sklearn.confusion_matrix(labels, found, labels=range(CLASSES)))
    recall = sklearn.recall_score(labels, found, labels=present, average=None, zero_division=0)
    assert metrics.recall_per_class(counts)[present] == pytest.approx(recall)
    assert np.isnan(np.delete(metrics.recall_per_class(counts), present)).all()
    f1 = sklearn.f1_score(labels, found, labels=present, average="macro", zero_division=0)
    assert metrics.macro_f1(counts) == pytest.approx(f1)


@given(expected=arrays(np.bool_, 25), found=arrays(np.bool_, 25))
def test_f1_of_the_positive_class_equals_scikit_learn(expected, found):
    f1 = metrics.positive_f1(*(np.sum(hits) for hits in (expected & found, ~expected & found, expected & ~found)))
    reference = sklearn.f1_score(expected, found, zero_division=np.nan)
    assert f1 == pytest.approx(reference, nan_ok=True)


@given(scores=arrays(np.float32, 30, elements=st.sampled_from([0.1, 0.2, 0.5, 0.9])), positive=arrays(np.bool_, 30))
def test_auc_equals_scikit_learn_with_ties(scores, positive):
    if positive.all() or not positive.any():
        assert np.isnan(metrics.roc_auc(scores, positive))
    else:
        assert metrics.roc_auc(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores))


@given(x=arrays(np.float64, 20, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])), seed=seeds)
def test_rank_correlation_equals_scipy_with_ties(x, seed):
    y = np.random.default_rng(seed).normal(size=20).round(1)
    if np.ptp(x) == 0:
        assert np.isnan(metrics.spearman(x, y))
    else:
        assert metrics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@given(x=arrays(np.float64, 20, elements=st.floats(-1, 1)), seed=seeds, shift=st.floats(-100, 100))
def test_concordance_is_its_definition_wherever_the_values_lie(x, seed, shift):
    y = 0.5 * x + np.random.default_rng(seed).normal(size=20)
    definition = 2 * np.cov(x, y, ddof=0)[0, 1] / (np.var(x) + np.var(y) + (np.mean(x) - np.mean(y)) ** 2)
    assert metrics.concordance(x + shift, y + shift) == pytest.approx(definition, abs=1e-9)


def test_concordance_without_variance_is_undefined():
    assert np.isnan(metrics.concordance(np.full(5, 0.3), np.full(5, 0.3)))
    assert np.isnan(metrics.concordance(np.array([0.1]), np.array([0.1])))


@given(seed=seeds, other=seeds)
def test_divergences_equal_scipy(seed, other):
    p, q = probabilities(seed), probabilities(other)
    kl = metrics.kl_divergence(p, q)
    p64, q64 = p.astype(np.float64), q.astype(np.float64)
    assert kl == pytest.approx(np.maximum(np.sum(p64 * np.log(p64 / q64), axis=1), 0), abs=1e-9)
    bernoulli = special.rel_entr(p64, q64) + special.rel_entr(1 - p64, 1 - q64)
    assert metrics.bernoulli_kl(p, q) == pytest.approx(bernoulli.sum(axis=1), rel=1e-6, abs=1e-9)
    assert metrics.entropy(p) == pytest.approx(stats.entropy(p64, axis=1), abs=1e-5)


def test_a_probability_of_zero_makes_a_large_divergence_not_an_infinite_one():
    p, q = np.array([[0.5, 0.5]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert 40 < metrics.kl_divergence(p, q)[0] < 100


@given(logits=arrays(np.float32, (10, CLASSES), elements=st.floats(-8, 8, width=32)))
def test_before_activation_gives_back_the_logits(logits):
    exact = logits.astype(np.float64)
    softmax = metrics.before_activation(special.softmax(exact, axis=1), "softmax")
    assert softmax == pytest.approx(exact - exact.mean(axis=1, keepdims=True), abs=1e-6)
    assert metrics.before_activation(special.expit(exact), "sigmoid") == pytest.approx(exact, abs=1e-6)
    assert metrics.before_activation(np.tanh(exact / 8), "tanh") == pytest.approx(exact / 8, abs=1e-6)
    assert np.array_equal(metrics.before_activation(logits, "none"), logits)


def test_saturated_probabilities_stay_finite_before_activation():
    edges = np.array([[0.0, 1.0]], np.float32)
    for activation in ("softmax", "sigmoid", "tanh"):
        assert np.isfinite(metrics.before_activation(edges, activation)).all()


def test_sqnr_is_ten_times_the_logarithm_of_the_power_ratio():
    assert metrics.sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 3.5])) == pytest.approx(10 * np.log10(25 / 0.25))
    assert metrics.sqnr_db(np.ones(3), np.ones(3)) == np.inf
    assert metrics.sqnr_db(np.zeros(3), np.ones(3)) == -np.inf


@given(seed=seeds)
def test_calibration_error_is_the_mean_gap_weighted_by_bins(seed):
    p = probabilities(seed, 200)
    labels = np.random.default_rng(seed).integers(0, CLASSES, 200)
    confidence, right = p.max(axis=1).astype(np.float64), p.argmax(axis=1) == labels
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert metrics.expected_calibration_error(*metrics.reliability(p, labels)) == pytest.approx(gap, abs=1e-6)


@given(values=arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 1.0, 2.5, -3.0])))
def test_midranks_equal_scipy(values):
    assert metrics.midranks(values) == pytest.approx(stats.rankdata(values))


@given(seed=seeds)
def test_cosine_similarity_and_the_nearest_neighbour_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 40, 6)).astype(np.float32)
    expected = np.diag(sklearn.pairwise.cosine_similarity(x, y))
    np.testing.assert_allclose(metrics.cosine_similarity(x, y), expected, atol=1e-6)
    similarity = sklearn.pairwise.cosine_similarity(x.astype(np.float64))
    np.fill_diagonal(similarity, -1)
    assert np.array_equal(metrics.nearest(x), similarity.argmax(axis=1))


def test_neighbours_of_many_images_are_looked_for_among_some(monkeypatch):
    monkeypatch.setattr(metrics, "GALLERY", 10)
    found = metrics.nearest(np.random.default_rng(0).normal(size=(100, 4)))
    assert set(found) <= {0, 11, 22, 33, 44, 55, 66, 77, 88, 99}
    assert not np.any(found == np.arange(100))


def test_an_embedding_of_nothing_is_like_none():
    assert metrics.cosine_similarity(np.zeros((1, 3)), np.ones((1, 3))) == 0


@given(
    scores=arrays(np.float32, 30, elements=st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9])),
    positive=arrays(np.bool_, 30),
    rate=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)
def test_recall_at_a_rate_is_the_largest_of_the_roc_curve_that_keeps_it(scores, positive, rate):
    recall, threshold = metrics.recall_at(scores, positive, rate)
    if positive.all() or not positive.any():
        assert np.isnan(recall)
        return
    false, true, _ = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    assert recall == pytest.approx(true[false <= rate + 1e-12].max())
    found = scores >= threshold
    assert found[~positive].mean() <= rate and found[positive].mean() == pytest.approx(recall)


@given(scores=arrays(np.float32, 25, elements=levels), positive=arrays(np.bool_, 25))
@example(scores=np.float32([1e-45, 0.0]), positive=np.array([True, False]))
def test_no_threshold_has_a_better_f1(scores, positive):
    best = metrics.best_f1_threshold(scores, positive)
    if not positive.any():
        assert np.isnan(best)
        return
    f1 = [sklearn.f1_score(positive, scores >= threshold) for threshold in (best, *scores)]
    assert f1[0] == max(f1)
