import numpy as np

from edgefer.graph.groups import find_groups, without
from edgefer.shrink.landmarks import landmarks, left_of
from tests.graph.networks import network, numbers

TEXT = """
a = Conv<kernel_shape=[1, 1]>(x, w)
b = Conv<kernel_shape=[1, 1]>(a, u)
c = Conv<kernel_shape=[1, 1]>(a, t)
r = Add(b, c)
e = Conv<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(r, v)
s = Relu(e)
p = GlobalAveragePool(s)
f = Flatten(p)
y = Gemm<transB=1>(f, g)
"""
WEIGHTS = {
    "w": numbers(24, 3, 1, 1),
    "u": numbers(12, 24, 1, 1, seed=1),
    "t": numbers(12, 24, 1, 1, seed=2),
    "v": numbers(16, 12, 3, 3, seed=3),
    "g": numbers(5, 16, seed=4),
}


def test_of_each_size_the_narrowest_value_that_everything_flows_through_is_a_landmark():
    graph = network(TEXT, "y", WEIGHTS)
    found = landmarks(graph)
    assert list(found) == ["r", "s", "f"], "b and c lie side by side; a is wider"
    assert [(axis, len(channels)) for axis, channels in found.values()] == [(1, 12), (1, 16), (1, 16)]


def test_channels_that_are_left_are_known_by_their_places_in_the_original():
    graph = network(TEXT, "y", WEIGHTS)
    places = landmarks(graph)
    for lost in (3, 0):
        groups = find_groups(graph)
        gone = np.zeros(groups.count, bool)
        gone[groups.values["r"][1][lost]] = True
        smaller = without(groups, gone)
        places, graph = left_of(places, groups, gone, smaller), smaller
    assert places["r"][1].tolist() == [1, 2, *range(4, 12)]
    assert np.array_equal(graph.constants["u"], WEIGHTS["u"][places["r"][1]])
    assert len(places["s"][1]) == 16


def test_what_is_as_wide_as_before_kept_its_channels():
    graph = network(TEXT, "y", WEIGHTS)
    groups, places = find_groups(graph), landmarks(graph)
    assert left_of(places, groups, np.ones(groups.count, bool), graph) == places
