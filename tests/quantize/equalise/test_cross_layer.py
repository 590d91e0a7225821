import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.quantize.equalise.cross_layer import equalise_layers
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.runtime.runners import onnx_session

CHANNELS = 12
LOUD = np.where(np.arange(CHANNELS) % 5 == 0, 400.0, 1.0)
EVEN = np.ones(CHANNELS)


def beginning(loudness):
    """A builder, its image, a column of so much for each channel, and what draws weights."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    return build, build.input("image", (1, 3, 4, 4)), loudness.reshape(-1, 1, 1, 1).astype(np.float32), weights


def ended(build, x, column, weights):
    """The network whose readers hear all channels of `x` alike."""
    reading = weights(8, CHANNELS, 1, 1) / column.reshape(1, -1, 1, 1)
    mean = build.global_average_pool("mean", build.silu("act3", build.conv("last", x, reading, weights(8))))
    return normalise(build.graph(build.linear("head", build.flatten("flat", mean), weights(4, 8), weights(4))))


def network(loudness, activation="Relu", *, depthwise=False):
    """Conv, an activation whose channels are so loud, and readers that hear all of them alike."""
    build, image, column, weights = beginning(loudness)
    x = build.conv("first", image, weights(CHANNELS, 3, 3, 3) * column, weights(CHANNELS), padding=1)
    settings = [build.constant("slope", np.full((CHANNELS, 1, 1), 0.25, np.float32))] if activation == "PRelu" else []
    if activation:
        x = build.op(activation, "act", x, *settings)
    if depthwise:
        kernel = weights(CHANNELS, 1, 3, 3)
        x = build.conv("depthwise", x, kernel, weights(CHANNELS), padding=1, groups=CHANNELS)
        x = build.relu("act2", x)
    return ended(build, x, column, weights)


def feeds(count=8):
    rng = np.random.default_rng(2)
    return [{"image": rng.normal(size=(1, 3, 4, 4)).astype(np.float32)} for _ in range(count)]


def measured(graph):
    return Sensitivity(graph, ["head"], feeds())


def int8(graph):
    return plan_int8(graph, collect(graph, tensors_to_observe(graph), feeds()))


def equalised(graph):
    sensitivity = measured(graph)
    return equalise_layers(graph, feeds(), sensitivity, lambda: sensitivity.noise(graph, int8(graph)))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("activation", ["", "Relu", "LeakyRelu", "PRelu"])
def test_the_int8_network_comes_closer_and_the_float_outputs_stay(activation, depthwise):
    graph = network(LOUD, activation, depthwise=depthwise)
    sensitivity = measured(graph)
    treated = equalised(graph)
    for feed in feeds(3):
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert sensitivity.noise(treated, int8(treated)) < sensitivity.noise(graph, int8(graph)) / 2


def test_nothing_is_added_to_the_network():
    graph = network(LOUD)
    assert equalised(graph).nodes == graph.nodes


def test_channels_of_like_ranges_are_left_alone():
    graph = network(EVEN)
    assert equalised(graph) is graph


def test_what_is_not_homogeneous_is_left_alone():
    graph = network(LOUD, "HardSwish")
    treated = equalise_layers(graph, feeds(), measured(graph), lambda: pytest.fail("there is nothing to scale"))
    assert treated is graph


def limited(loudness):
    """Two convolutions with a ReLU6 between, whose channels are so loud."""
    build, image, column, weights = beginning(loudness)
    bias = (np.abs(weights(CHANNELS)) * loudness).astype(np.float32)
    x = build.relu6("act", build.conv("first", image, weights(CHANNELS, 3, 3, 3) * column, bias, padding=1))
    return ended(build, x, column, weights)


def test_channels_that_stay_below_a_limit_grow_up_to_it_and_those_that_reach_it_stay():
    graph = limited(np.where(np.arange(CHANNELS) % 3 == 0, 20.0, 0.05))
    first = graph.named["first"].inputs[1]
    treated = equalised(graph)
    grown = treated.constants[first] / graph.constants[first]
    assert grown[::3] == pytest.approx(1.0)
    assert grown[1::3].min() > 5
    for feed in feeds():
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    sensitivity = measured(graph)
    assert sensitivity.noise(treated, int8(treated)) < sensitivity.noise(graph, int8(graph)) / 2


def test_a_channel_that_no_image_shows_stays_as_it_is():
    graph = limited(np.where(np.arange(CHANNELS) % 3 == 0, 20.0, 0.05))
    first, bias = graph.named["first"].inputs[1:]
    silent = graph.constants[bias] - 5 * (np.arange(CHANNELS) == 2).astype(np.float32)
    graph = graph.with_constants({bias: silent})
    grown = equalised(graph).constants[first] / graph.constants[first]
    assert grown[4].min() > 2
    assert grown[2] == pytest.approx(1.0)


def test_factors_keep_to_what_all_images_show_not_those_alone_that_are_measured():
    graph = limited(np.full(CHANNELS, 0.5))
    louder = [{"image": 4 * feed["image"]} for feed in feeds()]
    sensitivity = measured(graph)
    treated = equalise_layers(graph, louder, sensitivity, lambda: sensitivity.noise(graph, int8(graph)))
    for feed in louder:
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def attending(loudness):
    """A LayerNormalization whose channels are so loud, read by two products that hear all of them alike."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 4, 4))
    flat = build.op(
        "Reshape",
        "flat",
        build.conv("first", image, weights(CHANNELS, 3, 1, 1), weights(CHANNELS)),
        build.constant("places", np.array([1, CHANNELS, 16])),
    )
    tokens = build.op("Transpose", "tokens", flat, perm=(0, 2, 1))
    scale, bias = (
        build.constant(name, (weights(CHANNELS) + 1) * loudness.astype(np.float32)) for name in ("scale", "bias")
    )
    normed = build.op("LayerNormalization", "norm", tokens, scale, bias)
    moved = build.op("Transpose", "moved", normed, perm=(1, 0, 2))
    quiet = 1 / loudness[:, np.newaxis].astype(np.float32)
    first, second = (
        build.op("MatMul", name, moved, build.constant(f"{name}/weights", weights(CHANNELS, 6) * quiet))
        for name in ("key", "value")
    )
    joined = build.op(
        "Reshape", "joined", build.mul("product", first, second), build.constant("row", np.array([1, 96]))
    )
    return normalise(build.graph(build.linear("head", joined, weights(4, 96), weights(4))))


def test_channels_of_a_layer_norm_are_scaled_through_what_moves_them():
    graph = attending(LOUD)
    sensitivity = measured(graph)
    treated = equalised(graph)
    for feed in feeds(3):
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert sensitivity.noise(treated, int8(treated)) < sensitivity.noise(graph, int8(graph)) / 10
    assert attending(EVEN).nodes == treated.nodes
