import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.quantize.drop import expected_drop

logits = arrays(np.float64, (5, 3), elements=st.floats(-8, 8))


def test_what_is_chosen_instead_costs_the_difference_of_probabilities():
    expected = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    found = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # the second class instead of the first; the same
    assert expected_drop(expected, found, "softmax") == pytest.approx(100 * (0.5 - 0.3) / 2)


def test_a_decision_that_changes_costs_what_it_was_surer_of():
    expected = np.array([[2.0, -1.0]])
    right = 1 / (1 + np.exp(-1.0))
    assert expected_drop(expected, np.array([[0.5, 3.0]]), "sigmoid") == pytest.approx(100 * (2 * right - 1) / 2)


@given(logits, logits, st.sampled_from(["softmax", "sigmoid"]))
def test_nothing_is_gained_and_no_more_than_all_is_lost(expected, found, activation):
    assert expected_drop(expected, expected, activation) == 0
    assert 0 <= expected_drop(expected, found, activation) <= 100


def test_heads_without_decisions_have_no_accuracy_to_lose():
    assert expected_drop(np.ones((2, 2)), -np.ones((2, 2)), "tanh") == 0
