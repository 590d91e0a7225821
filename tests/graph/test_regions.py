from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.regions import divide, find_region, find_regions, permute, scale
from tests.graph.networks import assert_same_outputs, network, numbers, operators

GATED = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
s = Sigmoid(a)
m = Mul(a, s)
d = Conv<kernel_shape=[3, 3], group=6, pads=[1, 1, 1, 1]>(m, depthwise, depthwise_bias)
t = Mul(d, ratio)
p = GlobalAveragePool(t)
r = Conv<kernel_shape=[1, 1]>(p, reduce)
e = Conv<kernel_shape=[1, 1]>(r, expand, expand_bias)
g = Sigmoid(e)
k = Mul(t, g)
y = Conv<kernel_shape=[1, 1]>(k, v)
"""
GATED_WEIGHTS = {
    "w": numbers(6, 3, 1, 1),
    "w_bias": numbers(6, seed=1),
    "depthwise": numbers(6, 1, 3, 3, seed=2),
    "depthwise_bias": numbers(6, seed=3),
    "ratio": numbers(1, 6, 1, 1, seed=4),
    "reduce": numbers(2, 6, 1, 1, seed=5),
    "expand": numbers(6, 2, 1, 1, seed=6),
    "expand_bias": numbers(6, seed=7),
    "v": numbers(4, 6, 1, 1, seed=8),
}
RESIDUAL = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
r = PRelu(a, slope)
b = Conv<kernel_shape=[1, 1]>(r, inner)
c = Add(r, b)
d = Add(c, offset)
q = MaxPool<kernel_shape=[5, 5]>(d)
f = Flatten<axis=1>(q)
y = Gemm(f, v, v_bias)
"""
RESIDUAL_WEIGHTS = {
    "w": numbers(6, 3, 1, 1),
    "w_bias": numbers(6, seed=1),
    "slope": np.abs(numbers(6, 1, 1, seed=2)),
    "inner": numbers(6, 6, 1, 1, seed=3),
    "offset": numbers(1, 6, 1, 1, seed=4),
    "v": numbers(6, 4, seed=5),
    "v_bias": numbers(4, seed=6),
}
DEPTHWISE = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
m = Relu(a)
d = Conv<kernel_shape=[3, 3], group=6>(m, depthwise, depthwise_bias)
y = Conv<kernel_shape=[1, 1]>(d, v)
"""


CONVOLUTIONS = """
a = Conv<kernel_shape=[1, 1]>(x, w)
b = ACT
y = Conv<kernel_shape=[1, 1]>(b, v)
"""
WEIGHTS = {"w": numbers(6, 3, 1, 1), "v": numbers(4, 6, 1, 1)}


@pytest.fixture
def gated():
    return network(GATED, "y", GATED_WEIGHTS)


@pytest.fixture
def residual():
    return network(RESIDUAL, "y", RESIDUAL_WEIGHTS)


def names(nodes):
    return [node.output for node in nodes]


def test_a_region_reaches_through_activations_depthwise_convolutions_means_and_gates(gated):
    region = find_region(gated, "d")
    assert region.values == ("a", "s", "m", "d", "t", "p", "e", "g", "k")
    assert names(region.producers) == ["a", "e"]
    assert names(region.readers) == ["r", "y"]
    assert names(region.inside) == ["s", "m", "d", "t", "p", "g", "k"]


def test_every_value_of_a_region_leads_to_the_same_one(gated):
    region = find_region(gated, "a")
    assert all(find_region(gated, value) == region for value in region.values)


def test_a_convolution_beside_a_shortcut_both_reads_and_makes_the_region(residual):
    region = find_region(residual, "a")
    assert names(region.producers) == ["a", "b"]
    assert names(region.readers) == ["b", "y"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = Conv(x, w)\ny = Sigmoid(a)", id="the caller sees it"),
        pytest.param("a = Conv(x, w)\ns = Softmax<axis=1>(a)\ny = Conv(s, v)", id="softmax mixes channels"),
        pytest.param("a = Conv(x, w)\nc = Concat<axis=1>(a, a)\ny = Conv(c, wide)", id="more channels"),
        pytest.param("a = Conv<group=3>(x, grouped)\ny = Conv(a, wide)", id="two channels for each of the image's"),
        pytest.param("a = Conv(x, w)\nb = Add(a, x)\ny = Conv(b, v)", id="one side is the image"),
        pytest.param("a = Conv(x, w)\nb = Conv(a, w)\ny = Conv(b, v)", id="weights that two nodes share"),
    ],
)
def test_there_is_no_region_where_something_cannot_take_part(text):
    weights = {"w": numbers(3, 3, 1, 1), "v": numbers(4, 3, 1, 1), "wide": numbers(4, 6, 1, 1)}
    weights["grouped"] = numbers(6, 1, 1, 1)
    assert find_region(network(text, "y", weights), "a") is None


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)))
def test_reordered_channels_leave_the_outputs_what_they_were(order):
    for graph in (network(GATED, "y", GATED_WEIGHTS), network(RESIDUAL, "y", RESIDUAL_WEIGHTS)):
        permuted = permute(graph, find_region(graph, "a"), order)
        assert_same_outputs(graph, permuted)
        np.testing.assert_array_equal(permuted.constants["w"], graph.constants["w"][order])


@settings(max_examples=20, deadline=None)
@given(factors=st.lists(st.floats(0.01, 100), min_size=6, max_size=6))
def test_scaled_channels_leave_the_outputs_what_they_were(factors):
    for text, weights in ((RESIDUAL, RESIDUAL_WEIGHTS), (DEPTHWISE, GATED_WEIGHTS)):
        graph = network(text, "y", {name: array for name, array in weights.items() if name in text})
        for value in [region.values[0] for region in find_regions(graph, "scale")]:
            scaled = scale(graph, find_region(graph, value, "scale"), np.asarray(factors))
            assert_same_outputs(graph, scaled)


def test_a_depthwise_convolution_lets_the_scale_of_its_output_differ_from_its_inputs():
    graph = network(DEPTHWISE, "y", {name: array for name, array in GATED_WEIGHTS.items() if name in DEPTHWISE})
    assert [region.values for region in find_regions(graph, "scale")] == [("a", "m"), ("d",)]
    assert [region.values for region in find_regions(graph)] == [("a", "m", "d")]


@pytest.mark.parametrize("activation", ["Sigmoid(a)", "Clip(a, low, high)", "HardSwish(a)"])
def test_what_is_not_homogeneous_cannot_be_scaled(activation):
    limits = {"low": np.float32(0), "high": np.float32(6)}
    graph = network(CONVOLUTIONS.replace("ACT", activation), "y", WEIGHTS | limits)
    assert find_region(graph, "a") is not None
    assert find_region(graph, "a", "scale") is None


@pytest.mark.parametrize(("fused", "limit"), [("", inf), ("Relu", inf), ("Relu6", 6.0)])
def test_a_region_knows_what_a_fused_activation_cuts_off(fused, limit):
    graph = network(CONVOLUTIONS.replace("ACT", "Identity(a)"), "y", WEIGHTS)
    nodes = [replace(node, activation=fused) if node.output == "a" else node for node in graph.nodes]
    (region,) = find_regions(graph.with_nodes(nodes), "scale")
    assert (region.values, region.limit) == (("a", "b"), limit)


def test_what_a_reader_does_with_its_output_is_its_own():
    graph = network(CONVOLUTIONS.replace("ACT", "Relu(a)"), "y", WEIGHTS)
    nodes = [replace(node, activation="Relu6") if node.output == "y" else node for node in graph.nodes]
    assert [region.values for region in find_regions(graph.with_nodes(nodes), "scale")] == [("a", "b")]


def test_a_scale_passes_a_gate_by():
    text = GATED.replace("m = Mul(a, s)", "m = Relu(a)").replace("s = Sigmoid(a)\n", "")
    graph = network(text, "y", GATED_WEIGHTS)
    region = find_region(graph, "d", "scale")
    assert region.values == ("d", "t", "p", "k")
    assert_same_outputs(graph, scale(graph, region, np.array([0.1, 2, 30, 1, 5, 0.5])))


def test_parts_are_joined_where_something_reads_the_whole(gated):
    divided, parts = divide(gated, find_region(gated, "a"), ("a", "s", "m", "d"), (2, 4))
    assert_same_outputs(gated, divided)
    assert operators(divided)[:9] == ["Conv", "Conv", "Sigmoid", "Sigmoid", "Mul", "Mul", "Conv", "Conv", "Concat"]
    assert [divided.shape(part)[1] for part in parts["m"]] == [2, 4]
    assert [divided.producers[part].int("group") for part in parts["d"]] == [2, 4]
    assert divided.consumers["d"][0].output == "t"


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 5), unique=True, max_size=3))
def test_a_whole_region_in_parts_returns_the_same(cuts):
    sizes = np.diff([0, *sorted(cuts), 6]).tolist()
    for graph in (network(GATED, "y", GATED_WEIGHTS), network(RESIDUAL, "y", RESIDUAL_WEIGHTS)):
        region = find_region(graph, "a")
        divided, _ = divide(graph, region, region.values, sizes)
        assert_same_outputs(graph, divided)


def test_weights_that_were_divided_are_not_read_whole(gated):
    region = find_region(gated, "a")
    divided, _ = divide(gated, region, region.values, (2, 4))
    divided = remove_dead(divided)
    before, after = (sum(array.size for array in graph.constants.values()) for graph in (gated, divided))
    assert after == before
