import numpy as np
import pytest

from edgefer.graph.groups import find_groups, without
from edgefer.graph.onnx_io import to_onnx
from edgefer.quantize.costs.machines import LITERT_A76
from edgefer.shrink.remove import Bytes, Time, chosen
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
STORED = Bytes()


@pytest.fixture
def groups():
    return find_groups(network(TWO, "y", WEIGHTS))


def lightened(groups, worth, measure, target):
    return without(groups, chosen(groups, worth, measure, target))


def worth(first, second):
    return np.append(first, second)


def test_groups_of_least_worth_for_their_bytes_go_until_the_target_is_reached(groups):
    target = STORED.of(groups.graph) - 1000
    smaller = lightened(groups, worth(np.arange(64.0), np.full(32, 1e6)), STORED, target)
    assert STORED.of(smaller) <= target < STORED.of(smaller) + 8 * 43
    kept = smaller.shape("a")[1]
    assert smaller.shape("b")[1] == 32
    assert np.array_equal(smaller.constants["w"], groups.graph.constants["w"][64 - kept :]), "the last are worth most"
    assert np.array_equal(smaller.constants["u"], groups.graph.constants["u"][:, 64 - kept :])


def test_what_is_left_computes_what_it_did(groups):
    graph = groups.graph
    smaller = lightened(groups, np.arange(96.0), STORED, STORED.of(graph) / 2)
    zeroed = {name: array.copy() for name, array in graph.constants.items()}
    zeroed["u"][:, : 64 - smaller.shape("a")[1]] = 0
    zeroed["v"][:, : 32 - smaller.shape("b")[1]] = 0
    feeds = sample(graph, 0)
    expected, found = (run_model(to_onnx(each), feeds)["y"] for each in (graph.with_constants(zeroed), smaller))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert operators(smaller) == operators(graph)


def test_a_part_of_every_layer_stays(groups):
    smaller = groups.graph
    for _ in range(4):
        left = find_groups(smaller)
        smaller = lightened(left, np.zeros(left.count), STORED, 0)
    assert (smaller.shape("a")[1], smaller.shape("b")[1]) == (8, 8)


def test_nothing_goes_where_nothing_must(groups):
    assert not chosen(groups, np.zeros(96), STORED, STORED.of(groups.graph)).any()


def test_what_groups_take_is_what_a_graph_lacks_without_them(groups):
    """Whole tiles of one family are exact in bytes and, but for what each node takes, in instructions."""
    for measure in (STORED, Time(LITERT_A76)):
        smaller = lightened(groups, worth(np.arange(64.0), np.full(32, 1e9)), measure, measure.of(groups.graph) * 0.8)
        gone = np.arange(64 - smaller.shape("a")[1])
        assert len(gone) in (16, 32, 48) and smaller.shape("b")[1] == 32
        saved = measure.each(groups)[gone].sum()
        assert measure.of(groups.graph) - measure.of(smaller) == pytest.approx(saved, rel=0.02)
