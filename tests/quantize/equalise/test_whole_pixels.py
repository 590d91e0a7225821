"""Pixels are stored as whole numbers where that loses less."""

import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.passes import normalise
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.equalise.whole_pixels import store_whole
from edgefer.quantize.observe.sensitivity import Sensitivity

SIZE = 32


def network(mean=(127.5, 127.5, 127.5), *, reader="Conv"):
    """Pixels less a mean, read by a convolution, or something else, then by a layer."""
    rng = np.random.default_rng(0)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    image = build.input("image", (1, 3, SIZE, SIZE))
    row = np.tile(-np.asarray(mean, np.float32).reshape(1, 3, 1, 1), (1, 1, 1, SIZE))
    x = build.add("less", image, build.constant("mean", row))
    if reader != "Conv":
        x = build.op(reader, "other", x)
    x = build.relu("act", build.conv("first", x, weights(8, 3, 3, 3), weights(8), padding=1))
    flat = build.flatten("flat", build.global_average_pool("pool", x))
    return normalise(build.graph(build.linear("head", flat, weights(4, 8), weights(4))))


def faces(low=0, high=256):
    rng = np.random.default_rng(1)
    return [{"image": rng.integers(low, high, (1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(8)]


def stored(graph, images, plain=0.0):
    return store_whole(graph, Sensitivity(graph, ["head"], images), lambda: plain)


def test_a_mean_of_a_fraction_is_rounded_and_biases_make_up_for_it():
    graph, images = network(), faces()
    treated, params = stored(graph, images)
    assert params == {"less": QuantParams("int8", (1.0,), (0,))}
    assert set(treated.constants["mean"].flat) <= {-127.0, -128.0}
    sensitivity = Sensitivity(graph, ["head"], images)
    assert sensitivity.noise(treated, Plan()) < 1e-6


def test_nothing_changes_where_the_pixels_are_hardly_any_of_the_noise():
    graph = network()
    assert stored(graph, faces(), plain=1e9) == (graph, {})


def test_means_that_differ_are_whole_where_pixels_leave_room_and_not_where_they_do_not():
    graph = network((123.675, 116.28, 103.53))
    _, params = stored(graph, faces(20, 230))
    assert params["less"].scale == (1.0,)
    assert stored(graph, faces()) == (graph, {})


@pytest.mark.parametrize("reader", ["Relu", "Sigmoid"])
def test_what_is_read_otherwise_stays(reader):
    graph = network(reader=reader)
    assert stored(graph, faces()) == (graph, {})


@pytest.mark.parametrize("shape", [(1, 3, SIZE, SIZE), (1, 1, 1, SIZE), (3, 1, 1)])
def test_what_is_no_number_for_each_channel_stays(shape):
    graph = network()
    fractions = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    assert stored(graph.with_constants({"mean": fractions - 127}), faces())[1] == {}
