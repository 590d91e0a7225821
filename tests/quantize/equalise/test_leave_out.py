from math import inf

import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.costs.prices import WORTH, Prices
from edgefer.quantize.equalise.leave_out import leave_out, losable
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.runtime.runners import onnx_session

CHANNELS, NEEDED = 64, 16


def network(spare):
    """A layer of 64 channels, of which 48 are what `spare` says of the other 16, and two layers that read them."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    first = weights(CHANNELS, 3, 3, 3)
    if spare == "copies":
        first[NEEDED:] = 0.5 * np.tile(first[:NEEDED], (3, 1, 1, 1))
    elif spare == "quiet":
        first[NEEDED:] *= 1e-3
    build = GraphBuilder("network")
    x = build.conv("first", build.input("image", (1, 3, 8, 8)), first, weights(CHANNELS), padding=1)
    gate = build.op(
        "Sigmoid", "gate", build.conv("squeeze", build.global_average_pool("pool", x), weights(64, 64, 1, 1))
    )
    y = build.conv("second", build.op("Mul", "gated", x, gate), weights(NEEDED, CHANNELS, 1, 1), weights(NEEDED))
    mean = build.global_average_pool("mean", build.silu("act", y))
    return normalise(build.graph(build.linear("head", build.flatten("flat", mean), weights(4, NEEDED))))


def feeds(count, seed):
    rng = np.random.default_rng(seed)
    return [{"image": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def thinned(graph, most=inf, worth=WORTH):
    sensitivity = Sensitivity(graph, ["head"], feeds(16, seed=3))
    channels = losable(graph, feeds(48, seed=2), sensitivity)
    return leave_out(channels, Prices(graph, EVERYWHERE, worth), most), sensitivity


@pytest.mark.parametrize("spare", ["quiet", "copies"])
def test_channels_that_hardly_matter_or_follow_from_others_are_left_out(spare):
    graph = network(spare)
    smaller, sensitivity = thinned(graph)
    assert smaller.shape(smaller.named["first"].output)[1] <= CHANNELS - 16
    assert sensitivity.noise(smaller, Plan()) < WORTH
    for feed in feeds(2, seed=5):
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, smaller))
        np.testing.assert_allclose(found, expected, atol=0.05)


def test_channels_stay_where_leaving_them_out_is_not_worth_its_noise():
    graph = network("none")
    smaller, _ = thinned(graph, worth=1e-9)
    assert smaller is graph


def test_all_that_is_left_out_together_adds_no_more_noise_than_is_allowed():
    graph = network("quiet")
    smaller, sensitivity = thinned(graph)
    noise = sensitivity.noise(smaller, Plan())
    for most in (noise / 2, 0.0):
        less, _ = thinned(graph, most)
        assert sensitivity.noise(less, Plan()) <= most
