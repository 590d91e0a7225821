import numpy as np
import pytest

from edgefer.graph.passes.widen_groups import widen_groups
from tests.graph.networks import assert_same_outputs, network, numbers


@pytest.mark.parametrize(
    ("groups", "inputs", "outputs", "expected"),
    [(16, 4, 4, 4), (8, 2, 8, 4), (6, 4, 4, 2), (5, 3, 4, 5), (4, 8, 16, 4), (2, 4, 2, 1)],
)
def test_narrow_groups_are_joined_up_to_sixteen_channels(groups, inputs, outputs, expected):
    weights = numbers(groups * outputs, inputs, 3, 3)
    graph = network(
        f"y = Conv<group={groups}, pads=[1, 1, 1, 1]>(x, w, b)",
        "y",
        {"w": weights, "b": numbers(groups * outputs)},
        (1, groups * inputs, 5, 5),
    )
    after = widen_groups(graph)
    (node,) = after.nodes
    assert node.int("group") == expected
    assert np.count_nonzero(after.constants[node.inputs[1]]) == weights.size
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("text", ["y = Conv<group=8>(x, d)", "a = Conv<group=2>(x, w)\ny = Conv<group=2>(a, w)"])
def test_depthwise_and_tied_convolutions_stay(text):
    graph = network(text, "y", {"d": numbers(8, 1, 3, 3), "w": numbers(8, 4, 1, 1)}, (1, 8, 5, 5))
    assert widen_groups(graph) is graph
