from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.plan import QuantParams
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.costs.prices import Prices
from edgefer.quantize.equalise.through_silu import LARGEST_CORRECTION
from edgefer.quantize.equalise.through_silu import equalise as equalise_measured
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.ranges import affine
from edgefer.runtime.runners import onnx_session

LOUD = np.array([40.0, 1.0, 1.0, 1.0, 1.0, 0.5])
EVEN = np.ones(6)


def network(loudness, ending="se"):
    """Conv, SiLU whose channels are so loud, then what `ending` says, then a 1x1 convolution that hears all alike."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 12, 12))
    first = weights(6, 3, 3, 3) * loudness.reshape(-1, 1, 1, 1).astype(np.float32)
    x = build.silu("act", build.conv("first", image, first, weights(6), padding=1))
    if ending == "se":
        mean = build.global_average_pool("mean", x)
        gate = build.sigmoid(
            "gate", build.conv("expand", build.conv("reduce", mean, weights(2, 6, 1, 1)), weights(6, 2, 1, 1))
        )
        x = build.mul("gated", x, gate)
    elif ending == "depthwise":
        levelling = weights(6, 1, 3, 3) / loudness.reshape(-1, 1, 1, 1).astype(np.float32)
        loudness = EVEN
        x = build.conv("depthwise", x, levelling, weights(6), padding=1, groups=6)
    elif ending == "multiplied":
        x = build.conv("depthwise", x, weights(12, 1, 3, 3), weights(12), padding=1, groups=6)
        return normalise(build.graph(build.conv("last", x, weights(4, 12, 1, 1), weights(4))))
    elif ending == "input read elsewhere":
        x = build.add("sum", build.conv("side", x, weights(6, 6, 1, 1), weights(6)), build.op("Relu", "relu", "first"))
        return normalise(build.graph(x))
    elif ending == "shortcut":
        x = build.add("sum", x, build.conv("side", x, weights(6, 6, 1, 1), weights(6)))
    elif ending == "output":
        return normalise(build.graph(x))
    last = weights(4, 6, 1, 1) / loudness.reshape(1, -1, 1, 1).astype(np.float32)
    return normalise(build.graph(build.conv("last", x, last, weights(4))))


def feeds(count=8):
    rng = np.random.default_rng(2)
    return [{"image": rng.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(count)]


def equalise(graph, images):
    return equalise_measured(graph, images, Sensitivity(graph, graph.outputs, images), Prices(graph, EVERYWHERE))


def run(model, feed):
    return onnx_session(model).run(None, feed)[0]


@pytest.mark.parametrize("ending", ["se", "depthwise", "pointwise"])
def test_the_float_outputs_stay_what_they_were(ending):
    graph = network(LOUD, ending)
    equalised, prescribed = equalise(graph, feeds())
    assert len(prescribed) == 1
    for feed in feeds(3):
        expected = run(to_onnx(graph), feed)
        np.testing.assert_allclose(
            run(to_onnx(equalised), feed), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )


def test_channels_of_like_ranges_are_left_alone():
    graph = network(EVEN)
    equalised, prescribed = equalise(graph, feeds())
    assert equalised is graph
    assert not prescribed


def test_weights_that_another_layer_reads_too_stay_what_they_are():
    graph = network(LOUD)
    last = graph.named["last"]
    again = replace(last, name="again", outputs=("again",))
    graph = replace(
        graph.with_nodes((*graph.nodes, again), {"again": graph.info["last"]}), outputs=(*graph.outputs, "again")
    )
    assert equalise(graph, feeds())[0] is graph


@pytest.mark.parametrize("ending", ["shortcut", "output", "multiplied", "input read elsewhere"])
def test_a_silu_whose_scaling_cannot_be_taken_in_is_left_alone(ending):
    graph = network(LOUD, ending)
    assert equalise(graph, feeds())[0] is graph


def test_channels_come_closer_but_no_more_than_the_limit():
    graph = network(LOUD)
    equalised, prescribed = equalise(graph, feeds())
    (name,) = prescribed
    before, after = (
        np.max(
            [np.abs(onnx_session(to_onnx(g, [value])).run([value], feed)[0]).max((0, 2, 3)) for feed in feeds()],
            axis=0,
        )
        for g, value in ((graph, "first"), (equalised, name))
    )
    correction = (before / after) / np.median(before / after)
    assert after.max() / np.median(after) < before.max() / np.median(before) / 3
    assert correction.max() / correction.min() <= LARGEST_CORRECTION * 1.01


def test_the_ratios_are_stored_in_int8_without_error():
    equalised, _ = equalise(network(LOUD), feeds())
    (ratio,) = (array for name, array in equalised.constants.items() if name.endswith("/ratio"))
    params: QuantParams = affine(float(ratio.min()), float(ratio.max()))
    np.testing.assert_allclose(params.dequantize(params.quantize(ratio)), ratio, rtol=1e-5)


def test_the_int8_network_comes_closer_to_the_float_network():
    graph = network(LOUD)
    errors = []
    for candidate, prescribed in ((graph, {}), equalise(graph, feeds())):
        histograms = collect(candidate, tensors_to_observe(candidate), feeds())
        model = emit_onnx(candidate, plan_int8(candidate, histograms, prescribed=prescribed))
        errors.append(sum(np.square(run(model, feed) - run(to_onnx(graph), feed)).sum() for feed in feeds(4)))
    assert errors[1] < errors[0] / 1.5
