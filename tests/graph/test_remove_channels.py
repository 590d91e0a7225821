import numpy as np
import pytest

from edgefer.graph.macs import parameters
from edgefer.graph.passes import normalise
from edgefer.graph.passes.remove_channels import remove_channels
from tests.graph.networks import assert_same_outputs, network, numbers
from tests.graph.test_regions import GATED, GATED_WEIGHTS, RESIDUAL, RESIDUAL_WEIGHTS

ALL = slice(None)
PLAIN = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
r = Tanh(a)
y = Conv<kernel_shape=[1, 1]>(r, v)
"""
PLAIN_WEIGHTS = {name: GATED_WEIGHTS[name] for name in ("w", "w_bias", "v")}


def planted(weights, *changes):
    """The weights, with other numbers: name, where, what."""
    arrays = {name: array.copy() for name, array in weights.items()}
    for name, where, number in changes:
        arrays[name][where] = number
    return arrays


def channels(graph, value):
    return graph.shape(value)[1]


def test_channels_that_nothing_reads_go():
    graph = network(GATED, "y", planted(GATED_WEIGHTS, ("reduce", (ALL, 2), 0), ("v", (ALL, 2), 0)))
    smaller = remove_channels(graph)
    assert {channels(smaller, value) for value in ("a", "m", "d", "e", "k")} == {5}
    assert smaller.producers["d"].int("group") == 5
    assert parameters(smaller) < parameters(graph)
    assert_same_outputs(graph, smaller)


def test_a_channel_that_one_of_two_readers_reads_stays():
    graph = network(GATED, "y", planted(GATED_WEIGHTS, ("v", (ALL, 2), 0)))
    assert remove_channels(graph) is graph


def test_channels_that_are_always_zero_go():
    zero = [("w", 4, 0), ("w_bias", 4, 0), ("depthwise_bias", 4, 0)]
    graph = network(GATED, "y", planted(GATED_WEIGHTS, *zero, ("w", 1, 0)))
    smaller = remove_channels(graph)
    assert channels(smaller, "k") == 5, "channel 1 is a number that the padding behind it is not"
    assert_same_outputs(graph, smaller)


def test_a_channel_that_is_zero_all_over_the_map_is_so_behind_a_factor_for_each_row():
    text = """
    a = Conv(x, w)
    m = Mul(a, rows)
    d = Conv<group=4>(m, depthwise)
    y = Conv(d, v)
    """
    weights = {"w": numbers(4, 3, 1, 1), "rows": numbers(1, 4, 5, 1), "depthwise": numbers(4, 1, 1, 1)}
    weights |= {"v": numbers(2, 4, 1, 1)}
    graph = network(text, "y", planted(weights, ("w", 2, 0)))
    smaller = remove_channels(graph)
    assert channels(smaller, "d") == 3
    assert_same_outputs(graph, smaller)


def test_channels_of_one_number_are_added_to_the_bias_of_what_reads_them():
    graph = network(PLAIN, "y", planted(PLAIN_WEIGHTS, ("w", 3, 0)))
    smaller = remove_channels(graph)
    assert channels(smaller, "r") == 5
    assert len(smaller.producers["y"].inputs) == 3
    assert_same_outputs(graph, smaller)


def test_a_number_goes_through_sums_and_pools():
    planting = [("w", 3, 0), ("w_bias", 3, 0), ("inner", 3, 0)]
    graph = network(RESIDUAL, "y", planted(RESIDUAL_WEIGHTS, *planting))
    smaller = remove_channels(graph)
    assert channels(smaller, "q") == 5
    assert_same_outputs(graph, smaller)


def test_a_padded_reader_keeps_a_number_that_padding_is_not():
    padded = PLAIN.replace("(r, v)", "(r, wide)").replace("[1, 1]>(r", "[3, 3], pads=[1, 1, 1, 1]>(r")
    graph = network(padded, "y", planted(PLAIN_WEIGHTS | {"wide": np.ones((2, 6, 3, 3), np.float32)}, ("w", 3, 0)))
    assert remove_channels(graph) is graph


def test_equal_channels_become_one():
    own = [(name, 5, GATED_WEIGHTS[name][0]) for name in ("w", "w_bias", "depthwise", "depthwise_bias")]
    own.append(("ratio", (ALL, 5), GATED_WEIGHTS["ratio"][:, 0]))
    almost = network(GATED, "y", planted(GATED_WEIGHTS, *own))
    assert remove_channels(almost) is almost, "their gates differ"
    gates = [(name, 5, GATED_WEIGHTS[name][0]) for name in ("expand", "expand_bias")]
    graph = network(GATED, "y", planted(GATED_WEIGHTS, *own, *gates))
    smaller = remove_channels(graph)
    assert channels(smaller, "k") == 5
    assert_same_outputs(graph, smaller)


def test_equal_channels_of_a_sum_become_one():
    own = [(name, 5, RESIDUAL_WEIGHTS[name][0]) for name in ("w", "w_bias", "slope", "inner")]
    graph = network(
        RESIDUAL, "y", planted(RESIDUAL_WEIGHTS, *own, ("offset", (ALL, 5), RESIDUAL_WEIGHTS["offset"][:, 0]))
    )
    smaller = remove_channels(graph)
    assert channels(smaller, "d") == 5
    assert_same_outputs(graph, smaller)


@pytest.mark.parametrize("everything", ["w", "v"])
def test_a_channel_is_left_where_all_of_them_add_nothing(everything):
    graph = network(PLAIN, "y", planted(PLAIN_WEIGHTS, (everything, ALL, 0)))
    smaller = normalise(graph)
    assert channels(smaller, smaller.producers["y"].inputs[0]) == 1
    assert_same_outputs(graph, smaller)


SHUFFLED = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
r = Relu(a)
five = Reshape(r, halves)
turned = Transpose<perm=[0, 2, 1, 3, 4]>(five)
s = Reshape(turned, whole)
d = Conv<kernel_shape=[3, 3], group=6>(s, depthwise, depthwise_bias)
m = MaxPool<kernel_shape=[2, 2]>(d)
y = Conv<kernel_shape=[1, 1]>(m, v)
"""


def test_a_dead_channel_is_known_behind_a_shuffle():
    dead = planted(GATED_WEIGHTS, ("w", 3, 0), ("w_bias", 3, 0))
    weights = {name: dead[name] for name in ("w", "w_bias", "depthwise", "depthwise_bias", "v")}
    graph = network(SHUFFLED, "y", {**weights, "halves": np.array([1, 2, 3, 5, 5]), "whole": np.array([1, 6, 5, 5])})
    assert_same_outputs(graph, remove_channels(graph))


FOLDED = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
r = Relu(a)
s = Reshape(r, tall)
POOLED
y = Conv<kernel_shape=[1, 1]>(m, v)
"""


@pytest.mark.parametrize(
    "pooled",
    [
        "m = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(s)",
        "m = GlobalAveragePool(s)",
        "m = Conv<kernel_shape=[3, 3], group=3>(s, depthwise, depthwise_bias)",
    ],
)
def test_a_channel_that_is_dead_in_some_places_is_not_a_number(pooled):
    dead = planted(GATED_WEIGHTS, ("w", 3, 0), ("w_bias", 3, 0))
    weights = {name: dead[name][:3] for name in ("depthwise", "depthwise_bias")}
    weights |= {"w": dead["w"], "w_bias": dead["w_bias"], "v": dead["v"][:, :3], "tall": np.array([1, 3, 10, 5])}
    graph = network(FOLDED.replace("POOLED", pooled), "y", weights)
    assert_same_outputs(graph, remove_channels(graph))
