import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.quantize.observe.drop import Answer, expected_changes, expected_drop

logits = arrays(np.float64, (5, 3), elements=st.floats(-8, 8))


def test_what_is_chosen_instead_costs_the_difference_of_probabilities():
    expected = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    found = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # the second class instead of the first; the same
    assert expected_drop(expected, found, Answer("softmax")) == pytest.approx(100 * (0.5 - 0.3) / 2)


def test_a_decision_that_changes_costs_what_it_was_surer_of():
    expected = np.array([[2.0, -1.0]])
    right = 1 / (1 + np.exp(-1.0))
    assert expected_drop(expected, np.array([[0.5, 3.0]]), Answer("sigmoid")) == pytest.approx(
        100 * (2 * right - 1) / 2
    )


def test_a_decision_is_made_at_its_threshold_and_counts_by_the_distance_from_it():
    answer = Answer("sigmoid", (0.2, 0.5))
    expected, found = (np.log(odds) for odds in (np.array([[0.25 / 0.75, 3.0]]), np.array([[0.15 / 0.85, 1.5]])))
    assert expected_drop(expected, found, answer) == pytest.approx(100 * (0.25 - 0.2) / 0.8 / 2)


thresholds = st.tuples(*[st.floats(0.01, 0.99)] * 3)
answers = st.one_of(
    st.just(Answer("softmax")), st.builds(Answer, st.just("sigmoid"), st.one_of(st.just(()), thresholds))
)


@given(logits, logits, answers)
def test_nothing_is_gained_and_no_more_than_all_is_lost(expected, found, answer):
    assert expected_drop(expected, expected, answer) == 0
    assert 0 <= expected_drop(expected, found, answer) <= 100


def test_heads_without_decisions_have_no_accuracy_to_lose():
    assert expected_drop(np.ones((2, 2)), -np.ones((2, 2)), Answer("tanh")) == 0


def test_noise_without_direction_changes_as_many_answers_as_expected():
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(4000, 5))
    for answer in (Answer("softmax"), Answer("sigmoid", (0.3,))):
        found = expected + rng.normal(size=expected.shape) * 0.1
        if answer.activation == "softmax":
            changed = np.mean(expected.argmax(1) != found.argmax(1))
        else:
            changed = np.mean((expected >= np.log(3 / 7)) != (found >= np.log(3 / 7)))
        assert expected_changes(expected, found, answer) == pytest.approx(changed, rel=0.25)
    assert expected_changes(expected, found, Answer("none")) == 0
