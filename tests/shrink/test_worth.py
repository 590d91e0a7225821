"""Needs torch."""

import numpy as np
import pytest

from edgefer.graph.groups import find_groups
from tests.graph.networks import network, numbers

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from edgefer.graph.torch_module import TorchGraph  # noqa: E402
from edgefer.shrink.worth import worths  # noqa: E402

LINEAR = """
t = Transpose<perm=[0, 3, 1, 2]>(x)
a = Conv<kernel_shape=[1, 1]>(t, w)
d = Conv<kernel_shape=[3, 3], group=12>(a, depth)
p = GlobalAveragePool(d)
f = Flatten(p)
y = Gemm<transB=1>(f, v)
"""
WEIGHTS = {"w": numbers(12, 3, 1, 1), "depth": numbers(12, 1, 3, 3, seed=1), "v": numbers(5, 12, seed=2)}


def pictures(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 6, 6, 3))
    return list(pixels.astype(np.uint8))


def lost(graph, name, channel, images):
    """Noise over signal at the head where a reader's weights for a channel are zero."""
    without = {name: graph.constants[name].copy()}
    without[name][:, channel] = 0
    batch = torch.from_numpy(np.concatenate(images)).float()
    (before,), (after,) = (TorchGraph(each)(batch, ["y"]) for each in (graph, graph.with_constants(without)))
    return float((before - after).square().sum() / (before - before.mean(0)).square().sum())


def test_a_channel_is_worth_what_the_heads_lose_without_it():
    graph, images = network(LINEAR, "y", WEIGHTS, x=(1, 6, 6, 3)), pictures(400)
    found = worths(find_groups(graph), ("y",), images)
    expected = [lost(graph, "v", channel, images) for channel in range(12)]
    np.testing.assert_allclose(found, expected, rtol=0.35)  # signs are random
    assert set(np.argsort(found)[:3]) == set(np.argsort(expected)[:3])


def test_equal_arguments_give_equal_worths():
    graph, images = network(LINEAR, "y", WEIGHTS, x=(1, 6, 6, 3)), pictures(8)
    first, second = (worths(find_groups(graph), ("y",), images) for _ in range(2))
    assert np.array_equal(first, second)


def test_what_the_heads_do_not_need_is_not_judged():
    text = LINEAR + "b = Conv<kernel_shape=[1, 1]>(t, w2)\nz = Conv<kernel_shape=[1, 1]>(b, v2)"
    more = {"w2": numbers(8, 3, 1, 1), "v2": numbers(2, 8, 1, 1)}
    graph = network(text, "y z", WEIGHTS | more, x=(1, 6, 6, 3))
    found = worths(find_groups(graph), ("y",), pictures(2))
    assert np.isfinite(found[:12]).all() and np.isinf(found[12:]).all() and len(found) == 20


def test_where_no_group_is_read_there_is_nothing_to_judge():
    text = "t = Transpose<perm=[0, 3, 1, 2]>(x)\na = Conv(t, w)\np = GlobalAveragePool(a)\ny = Flatten(p)"
    graph = network(text, "y", WEIGHTS, x=(1, 6, 6, 3))
    assert len(worths(find_groups(graph), ("y",), pictures(2))) == 0
