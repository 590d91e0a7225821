import numpy as np
import pytest

from edgefer.plan import QuantParams
from edgefer.quantize.fit import rounding
from edgefer.quantize.fit.rounding import Inputs, rounded
from edgefer.quantize.scales.ranges import per_channel_symmetric
from tests.emit.harness import sample, values_of
from tests.graph.networks import network, numbers

LAYERS = {
    "plain": ("y = Conv<kernel_shape=[1, 1]>(x, w)", (4, 3, 1, 1)),
    "strided": ("y = Conv<kernel_shape=[3, 3], strides=[2, 1], pads=[1, 0, 1, 2]>(x, w)", (4, 3, 3, 3)),
    "dilated": ("y = Conv<kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1]>(x, w)", (4, 3, 2, 2)),
    "depthwise": ("y = Conv<kernel_shape=[3, 3], group=3, pads=[1, 1, 1, 1]>(x, w)", (6, 1, 3, 3)),
}
GEMMS = {
    "rows": ("p = GlobalAveragePool(x)\nf = Flatten(p)\ny = Gemm<transB=1>(f, w)", (5, 3), 0),
    "columns": ("p = GlobalAveragePool(x)\nf = Flatten(p)\ny = Gemm(f, w)", (3, 5), 1),
}


def layer(text, shape, side=5):
    graph = network(text, "y", {"w": numbers(*shape)}, x=(1, 3, side, side))
    return graph, graph.nodes[-1]


@pytest.mark.parametrize("name", LAYERS)
def test_patches_are_what_a_convolution_multiplies_with_its_weights(name):
    text, shape = LAYERS[name]
    graph, node = layer(text, shape, side=4)
    x = sample(graph, 0)["x"]
    patches = Inputs(graph, node).patches(x)
    rows = graph.constants["w"].reshape(len(patches), -1, patches.shape[1])
    expected = values_of(graph, {"x": x})["y"]
    assert patches.shape[2] == expected[0, 0].size  # all positions of a small map
    np.testing.assert_allclose((rows @ patches).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_of_large_maps_some_positions_from_all_over_are_looked_at():
    graph, node = layer(*LAYERS["plain"], side=20)
    x = sample(graph, 0)["x"]
    assert np.array_equal(Inputs(graph, node).patches(x)[0], x[0, :, 2::5, 2::5].reshape(3, 16))


def test_of_many_rows_some_from_all_over_each_image_are_looked_at():
    graph = network("y = Gemm(x, w)", "y", {"w": numbers(3, 4)}, (130, 3))
    x = numbers(260, 3, seed=1)  # of two images
    patches = Inputs(graph, graph.named["Gemm_0"]).patches(x)
    assert np.array_equal(patches[0], x.reshape(2, 130, 3)[:, 1::3].reshape(-1, 3).T)


def seen(graph, node, images=40):
    inputs = Inputs(graph, node)
    feeds = [sample(graph, seed) for seed in range(images)]
    patches = [inputs.patches(values_of(graph, feed).get(node.inputs[0], feed["x"])) for feed in feeds]
    for each in patches:
        inputs.add(each)
    return inputs, np.concatenate(patches, axis=2)


@pytest.mark.parametrize("name", [*LAYERS, *GEMMS])
def test_weights_lie_near_their_integers_on_the_side_that_they_were_on(name):
    text, shape, axis = (*LAYERS[name], 0) if name in LAYERS else GEMMS[name]
    graph, node = layer(text, shape)
    weights = graph.constants["w"]
    params = per_channel_symmetric(weights, axis, floor=np.zeros(shape[axis]))
    found = rounded(weights, params, seen(graph, node)[0])
    assert found.shape == shape
    stored = params.dequantize(params.quantize(found))
    quarter = np.expand_dims(params.scale, tuple(range(1 - axis, len(shape) - axis))) / 4
    np.testing.assert_allclose(found, stored + np.clip(weights - stored, -quarter, quarter), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("dtype", "largest", "widest"), [("int8", 127, 27), ("int4", 7, 27), ("int8", 127, 9)])
def test_outputs_change_less_than_with_the_nearest_integers(monkeypatch, dtype, largest, widest):
    monkeypatch.setattr(rounding, "_WIDEST", widest)
    graph, node = layer("y = Conv<kernel_shape=[3, 3]>(x, w)", (16, 3, 3, 3), side=8)
    rng = np.random.default_rng(1)
    inputs, patches = Inputs(graph, node), []
    assert inputs.size == widest
    for _ in range(64):
        x = rng.normal(size=(1, 3, 8, 8)).cumsum(axis=2).cumsum(axis=3).astype(np.float32)  # neighbours are alike
        patches.append(inputs.patches(x))
        inputs.add(patches[-1])
    weights = graph.constants["w"]
    scale = np.abs(weights).max(axis=(1, 2, 3)) / largest
    params = QuantParams(dtype, tuple(map(float, scale)), (0,) * 16, 0, narrow=True)
    all_seen = np.concatenate(patches, axis=2)[0]

    def noise(stored):
        change = (params.dequantize(params.quantize(stored)) - weights).reshape(16, -1) @ all_seen
        return change.var(axis=1).sum()

    assert noise(rounded(weights, params, inputs)) < 0.5 * noise(weights)


def test_inputs_that_have_nothing_in_common_leave_weights_to_the_nearest_integers():
    graph, node = layer(*LAYERS["plain"])
    inputs = Inputs(graph, node)
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], np.float32)
    inputs.add(signs[np.newaxis])
    weights = graph.constants["w"]
    params = per_channel_symmetric(weights, 0, floor=np.zeros(4))
    assert np.array_equal(params.quantize(rounded(weights, params, inputs)), params.quantize(weights))


def test_what_no_image_shows_is_rounded_all_the_same():
    graph, node = layer(*LAYERS["depthwise"])
    inputs = Inputs(graph, node)
    inputs.add(inputs.patches(np.zeros((1, 3, 5, 5), np.float32)))
    weights = graph.constants["w"]
    params = per_channel_symmetric(weights, 0, floor=np.zeros(6))
    assert np.array_equal(params.quantize(rounded(weights, params, inputs)), params.quantize(weights))


@pytest.mark.parametrize("images", [1, 17])
def test_few_images_of_much_the_same_values_are_enough(images):
    graph, node = layer("y = Conv<kernel_shape=[3, 3]>(x, w)", (4, 3, 3, 3))
    inputs = Inputs(graph, node)
    for seed in range(images):
        noise = np.random.default_rng(seed).normal(size=(1, 3, 5, 5))
        inputs.add(inputs.patches((1000 + 1e-2 * noise).astype(np.float32)))
    weights = graph.constants["w"]
    params = per_channel_symmetric(weights, 0, floor=np.zeros(4))
    assert np.abs(params.quantize(rounded(weights, params, inputs)) - params.quantize(weights)).max() <= 5
