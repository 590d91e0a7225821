import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.costs.prices import Prices
from edgefer.quantize.equalise.split_channels import can_split
from edgefer.quantize.equalise.split_channels import split as split_for
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.runtime.delegation import undelegated
from edgefer.runtime.runners import onnx_session

CHANNELS = 32
LOUD = np.where(np.isin(np.arange(CHANNELS), [3, 17, 20, 29]), 500.0, 1.0)
EVEN = np.ones(CHANNELS)


def network(loudness, reader="depthwise", activation="silu"):
    """Conv, an activation whose channels are so loud, what `reader` says, SiLU, and a head that hears all alike."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 4, 4))
    first = weights(CHANNELS, 3, 3, 3) * loudness.reshape(-1, 1, 1, 1).astype(np.float32)
    x = build.conv("first", image, first, padding=1)
    y = build.silu("act", x) if activation == "silu" else build.op(activation, "act", x)
    hearing = (1 / loudness).reshape(-1, 1, 1, 1).astype(np.float32)
    if reader == "pointwise":
        y = build.conv(
            "reading", y, weights(CHANNELS, CHANNELS, 1, 1) * hearing.reshape(1, -1, 1, 1), weights(CHANNELS)
        )
    else:
        kernel = weights(CHANNELS, 1, 3, 3) * hearing
        z = build.conv("reading", y, kernel, padding=1, groups=CHANNELS)
        y = build.add("sum", build.op("Relu", "rectified", z), y) if reader == "both" else z
    mean = build.global_average_pool("mean", build.silu("act2", y))
    return normalise(build.graph(build.linear("head", build.flatten("flat", mean), weights(4, CHANNELS))))


def feeds(count=8):
    rng = np.random.default_rng(2)
    return [{"image": rng.normal(size=(1, 3, 4, 4)).astype(np.float32)} for _ in range(count)]


def measured(graph):
    return Sensitivity(graph, ["head"], feeds())


def split(graph, sensitivity):
    return split_for(graph, sensitivity, Prices(graph, EVERYWHERE))


def int8(graph):
    return plan_int8(graph, collect(graph, tensors_to_observe(graph), feeds()))


def joins(graph):
    return [node for node in graph.nodes if node.op == "Concat"]


@pytest.mark.parametrize("activation", ["silu", "HardSwish"])
def test_the_float_outputs_stay_what_they_were(activation):
    graph = network(LOUD, activation=activation)
    treated = split(graph, measured(graph))
    assert joins(treated)
    for feed in feeds(3):
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_int8_network_comes_closer_to_the_float_network():
    graph = network(LOUD)
    sensitivity = measured(graph)
    treated = split(graph, sensitivity)
    assert sensitivity.noise(treated, int8(treated)) < sensitivity.noise(graph, int8(graph)) / 3


def test_the_loud_channels_are_apart_from_the_quiet_ones():
    graph = network(LOUD)
    treated = split(graph, measured(graph))
    (join,) = joins(treated)
    loud, quiet = (treated.constants[treated.producers[part].inputs[1]] for part in ("first/part_0", "first/part_1"))
    sizes = [treated.shape(part)[1] for part in join.inputs]
    assert (len(loud), len(quiet)) == tuple(sizes)
    assert sum(sizes) == CHANNELS
    original = graph.constants[graph.named["first"].inputs[1]]
    assert all((loud == row).all((1, 2, 3)).any() for row in original[LOUD > 1])


def test_what_is_joined_is_stored_in_one_scale_and_nothing_is_left_to_slow_kernels():
    graph = network(LOUD)
    treated = split(graph, measured(graph))
    plan = int8(treated)
    (join,) = joins(treated)
    assert plan.is_int8(join.name)
    assert len({plan.tensors[value] for value in (*join.inputs, join.output)}) == 1
    assert plan.tensors["act/part_0"].scale[0] > 5 * plan.tensors["act/part_1"].scale[0]
    assert undelegated(emit_tflite(treated, plan)) == []
    assert np.isfinite(onnx_session(emit_onnx(treated, plan)).run(None, feeds(1)[0])[0]).all()


def test_channels_of_like_ranges_are_left_alone():
    graph = network(EVEN)
    assert split(graph, measured(graph)) is graph


@pytest.mark.parametrize("reader", ["pointwise", "both"])
def test_an_activation_that_more_than_a_depthwise_convolution_reads_is_left_alone(reader):
    graph = network(LOUD, reader)
    assert not can_split(graph, "first")
    assert split(graph, measured(graph)) is graph


def test_what_can_be_split_is_known_by_the_convolution_before_it():
    graph = network(LOUD)
    assert can_split(graph, "first")
    assert not can_split(graph, "reading")
    assert not can_split(graph, "image")


def test_a_group_is_divided_further_while_that_pays():
    graph = network(np.where(np.arange(CHANNELS) < 4, 1e5, np.where(np.arange(CHANNELS) < 8, 300.0, 1.0)))
    (join,) = joins(split(graph, measured(graph)))
    assert len(join.inputs) == 3


def test_of_two_sites_that_share_channels_one_is_treated():
    rng = np.random.default_rng(1)
    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 4, 4))
    branches = []
    for name in ("left", "right"):
        first = rng.normal(size=(CHANNELS, 3, 3, 3)) * LOUD.reshape(-1, 1, 1, 1)
        kernel = rng.normal(size=(CHANNELS, 1, 3, 3)) / LOUD.reshape(-1, 1, 1, 1)
        x = build.silu(f"{name}/act", build.conv(f"{name}/first", image, first.astype(np.float32), padding=1))
        branches.append(build.conv(f"{name}/deep", x, kernel.astype(np.float32), padding=1, groups=CHANNELS))
    mean = build.global_average_pool("mean", build.add("sum", *branches))
    weights = rng.normal(size=(4, CHANNELS)).astype(np.float32)
    graph = normalise(build.graph(build.linear("head", build.flatten("flat", mean), weights)))
    treated = split(graph, measured(graph))
    assert len(joins(treated)) == 1
    for feed in feeds(3):
        expected, found = (onnx_session(to_onnx(g)).run(None, feed)[0] for g in (graph, treated))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
