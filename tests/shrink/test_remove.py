import numpy as np

from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.regions import find_regions
from edgefer.shrink.remove import stored_bytes, without
from tests.emit.harness import run_model, sample
from tests.graph.networks import network, numbers, operators

TWO = """
a = Conv<kernel_shape=[1, 1]>(x, w, w_bias)
r = Relu(a)
b = Conv<kernel_shape=[1, 1]>(r, u)
s = Relu(b)
y = Conv<kernel_shape=[1, 1]>(s, v)
"""
WEIGHTS = {
    "w": numbers(64, 3, 1, 1),
    "w_bias": numbers(64, seed=1),
    "u": numbers(32, 64, 1, 1, seed=2),
    "v": numbers(5, 32, 1, 1, seed=3),
}


def graph_and_worths(*worths):
    graph = network(TWO, "y", WEIGHTS)
    return graph, list(zip(find_regions(graph), map(np.asarray, worths), strict=True))


def test_channels_of_least_worth_for_their_bytes_go_until_the_target_is_reached():
    worth = np.arange(64.0)
    graph, regions = graph_and_worths(worth, np.full(32, 1e6))
    target = stored_bytes(graph) - 1000
    smaller = without(graph, regions, target)
    kept = smaller.shape("a")[1]
    assert stored_bytes(smaller) <= target < stored_bytes(without(graph, regions, target + 8 * 43))
    assert smaller.shape("b")[1] == 32
    assert np.array_equal(smaller.constants["w"], graph.constants["w"][64 - kept :]), "the last ones are worth most"
    assert np.array_equal(smaller.constants["u"], graph.constants["u"][:, 64 - kept :])


def test_what_is_left_computes_what_it_did():
    graph, regions = graph_and_worths(np.arange(64.0), np.arange(32.0))
    smaller = without(graph, regions, stored_bytes(graph) // 2)
    zeroed = {name: array.copy() for name, array in graph.constants.items()}
    zeroed["u"][:, : 64 - smaller.shape("a")[1]] = 0
    zeroed["v"][:, : 32 - smaller.shape("b")[1]] = 0
    feeds = sample(graph, 0)
    expected, found = (run_model(to_onnx(each), feeds)["y"] for each in (graph.with_constants(zeroed), smaller))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert operators(smaller) == operators(graph)


def test_a_part_of_every_layer_stays():
    smaller, _ = graph_and_worths(np.zeros(64), np.zeros(32))
    for _ in range(4):
        smaller = without(smaller, [(region, np.zeros(region.channels)) for region in find_regions(smaller)], 0)
    assert (smaller.shape("a")[1], smaller.shape("b")[1]) == (8, 8)


def test_nothing_goes_where_nothing_must():
    graph, regions = graph_and_worths(np.zeros(64), np.zeros(32))
    assert without(graph, regions, stored_bytes(graph)) is graph
