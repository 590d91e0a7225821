import numpy as np
import pytest

from edgefer.graph.groups import find_groups
from edgefer.graph.onnx_io import to_onnx
from edgefer.plan import Plan
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.shrink.journal import Journal
from edgefer.shrink.lighter import Lighter, Student
from edgefer.shrink.low_rank import through_fewer
from edgefer.shrink.refit import observed, shares
from edgefer.shrink.remove import Bytes
from tests.emit.harness import run_model
from tests.graph.networks import network, numbers, operators

CONV = """
a = Conv<kernel_shape=[1, 1]>(x, w)
r = Relu(a)
b = Conv<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(r, u, u_bias)
s = Relu(b)
p = GlobalAveragePool(s)
f = Flatten(p)
h = Gemm<transB=TRANS>(f, g, g_bias)
y = Gemm<transB=1>(h, v)
"""


def weights(rank, transposed):
    """Layers of so low a rank, but for a little noise."""
    u = numbers(128, rank, seed=1) @ numbers(rank, 32 * 9, seed=2)
    g = numbers(256, rank, seed=3) @ numbers(rank, 128, seed=4)
    return {
        "w": numbers(32, 3, 1, 1),
        "u": u.reshape(128, 32, 3, 3) / 10,
        "u_bias": numbers(128, seed=5),
        "g": (g.T if transposed else g) / 10,
        "g_bias": numbers(256, seed=6),
        "v": numbers(5, 256, seed=7),
    }


def feeds(count, seed=0):
    images = np.random.default_rng(seed).normal(size=(count, 1, 3, 5, 5)).astype(np.float32)
    return [{"x": image} for image in images]


@pytest.mark.parametrize("transposed", [False, True])
def test_layers_of_low_rank_are_computed_in_two_steps_and_give_what_they_gave(transposed):
    graph = network(CONV.replace("TRANS", str(int(not transposed))), "y", weights(12, transposed))
    smaller = through_fewer(graph, feeds(100), 1e9)
    assert operators(smaller).count("Conv") == 3 and operators(smaller).count("Gemm") == 3
    assert Bytes().of(smaller) < 0.5 * Bytes().of(graph)
    for feed in feeds(3, seed=1):
        expected, found = (run_model(to_onnx(each), feed)["y"] for each in (graph, smaller))
        np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_one_image_is_enough_for_finite_weights():
    graph = network(CONV.replace("TRANS", "1"), "y", weights(12, False))
    smaller = through_fewer(graph, feeds(1), 1e9)
    assert all(np.isfinite(array).all() for array in smaller.constants.values())


def test_what_is_not_finite_is_noisier_than_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path))
    graph = network(CONV.replace("TRANS", "1"), "y", weights(12, False))
    low = through_fewer(graph, feeds(8), 1e9)
    broken = low.with_constants({"v": low.constants["v"] * np.float32(np.nan)})
    monkeypatch.setattr("edgefer.shrink.lighter.through_fewer", lambda *_: broken)
    judge = Sensitivity(graph, ("y",), feeds(2, seed=1))
    lighter = Lighter(Journal("key"), lambda groups: np.zeros(groups.count), judge, feeds(8))
    found = lighter.made(Student(graph, {}), Bytes(), 0.9 * Bytes().of(graph), "1")
    assert np.isfinite(found.graph.constants["v"]).all()


def test_the_layer_that_loses_least_goes_first_and_no_more_than_must():
    low, high = weights(12, False), weights(200, False)
    graph = network(CONV.replace("TRANS", "1"), "y", low | {"u": high["u"]})
    smaller = through_fewer(graph, feeds(100), 1000)
    assert smaller.named.keys() - graph.named.keys() == {"Gemm_6/first"}


def test_the_channels_between_can_go_like_others():
    graph = network(CONV.replace("TRANS", "1"), "y", weights(12, False))
    smaller = through_fewer(graph, feeds(100), 1e9)
    assert find_groups(smaller).count > find_groups(graph).count


def test_small_layers_stay():
    text = "a = Conv<kernel_shape=[1, 1]>(x, w)\ny = Conv<kernel_shape=[1, 1]>(a, v)"
    graph = network(text, "y", {"w": numbers(64, 3, 1, 1), "v": numbers(5, 64, 1, 1)})
    assert through_fewer(graph, feeds(4), 1e9) is None


@pytest.mark.parametrize("rank", [12, 128])
def test_a_round_takes_two_steps_where_that_is_quieter_than_fewer_channels(rank, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path))
    graph = network(CONV.replace("TRANS", "1"), "y", weights(rank, False))
    judge = Sensitivity(graph, ["y"], feeds(32, seed=2))
    worths = lambda groups: shares(groups, observed(groups, feeds(32)))  # noqa: E731
    target = 0.7 * Bytes().of(graph)
    found = Lighter(Journal("key"), worths, judge, feeds(100)).made(Student(graph, {}), Bytes(), target, "1-gone")
    assert bool(found.in_two) == (rank == 12)
    assert Bytes().of(found.graph) <= 0.75 * Bytes().of(graph)
    assert judge.noise(found.graph, Plan()) < (1e-3 if rank == 12 else 1)
