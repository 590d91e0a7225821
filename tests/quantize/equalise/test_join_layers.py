"""Linear layers that follow each other become one where storing what lies between loses more than that costs."""

import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.costs.prices import Prices
from edgefer.quantize.equalise.join_layers import join_layers
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.runtime.runners import onnx_session


def network(*, between="", taps=1, shortcut=False, narrow=16, before=3):
    """A convolution of `before` taps to few channels, and one of so many taps from them to many."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 16, 16))
    x = build.relu("act", build.conv("wide", image, weights(32, 3, 3, 3), weights(32), padding=1))
    narrowed = build.conv("narrow", x, weights(narrow, 32, before, before), weights(narrow), padding=before // 2)
    if between:
        narrowed = build.op(between, "between", narrowed)
    widened = build.conv("widen", narrowed, weights(48, narrow, taps, taps), weights(48), padding=taps // 2)
    mean = build.global_average_pool("mean", build.relu("act2", widened))
    if shortcut:
        mean = build.op("Concat", "both", mean, build.global_average_pool("mean2", narrowed), axis=1)
    flat = build.flatten("flat", mean)
    return normalise(build.graph(build.linear("head", flat, weights(4, build.shape(flat)[1]), weights(4))))


FEEDS = [{"image": np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32)} for seed in range(8)]


def joined(graph, worth=0.0):
    return join_layers(graph, Sensitivity(graph, ["head"], FEEDS), Prices(graph, EVERYWHERE, worth))


def test_two_are_one_and_say_the_same():
    graph = network()
    treated = joined(graph)
    assert [node.op for node in treated.nodes].count("Conv") == 2
    assert treated.named["widen"].activation == "Relu"
    assert treated.shape(treated.named["widen"].inputs[1]) == (48, 32, 3, 3)
    for feed in FEEDS[:3]:
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("other", [{"between": "Relu"}, {"between": "HardSwish"}, {"taps": 3}, {"shortcut": True}])
def test_what_is_no_product_of_two_matrices_stays_as_it_is(other):
    graph = network(**other)
    assert joined(graph) is graph


def test_the_price_decides():
    graph = network(narrow=2)  # three times as much to compute
    assert joined(graph, worth=1e3) is graph
    assert joined(network(narrow=32, before=1), worth=1e3).named.keys().isdisjoint({"narrow"})  # less to compute
