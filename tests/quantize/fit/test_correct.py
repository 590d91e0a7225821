from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.passes.separate_biases import separate_biases
from edgefer.graph.subgraph import cut_points
from edgefer.quantize.fit import rounding
from edgefer.quantize.fit.correct import _lines, correct, pieces
from edgefer.quantize.fit.rounding import rounded
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.integer_kernels import bias_params
from tests.emit.harness import run_model, sample, values_of
from tests.graph.networks import network, numbers
from tests.quantize.plans import with_coarse_weights

STEM = "a = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, w, b)\nr = Relu(a)\n"
CONSTANTS = {
    "w": numbers(8, 3, 3, 3),
    "b": numbers(8, seed=1),
    "depth": numbers(8, 1, 3, 3, seed=2),
    "halves": numbers(6, 4, 1, 1, seed=3),
    "six": numbers(6, seed=4),
    "rows": numbers(5, 8, seed=5),
    "columns": numbers(8, 5, seed=6),
    "five": numbers(5, seed=7),
    "plain": numbers(4, 8, 1, 1, seed=8),
}
POOLED = "p = GlobalAveragePool(r)\nf = Flatten(p)\n"
DEPTHWISE = "y = Conv<kernel_shape=[3, 3], group=8, strides=[2, 2], pads=[1, 1, 0, 0], dilations=[1, 1]>(r, depth, b)"
GROUPED = "y = Conv<kernel_shape=[1, 1], group=2>(r, halves, six)"
NETWORKS = {
    "depthwise": (STEM + DEPTHWISE, "y"),
    "grouped": (STEM + GROUPED, "y"),
    "dilated": (STEM + DEPTHWISE.replace("[1, 1]>", "[2, 2]>"), "y"),
    "Gemm of rows": (STEM + POOLED + "y = Gemm<transB=1>(f, rows, five)", "y"),
    "Gemm of columns": (STEM + POOLED + "y = Gemm(f, columns, five)", "y"),
    "two heads": (STEM + POOLED + "y = Gemm<transB=1>(f, rows, five)\nz = Gemm(f, columns, five)", "y z"),
    "two heads that are returned on the way": (STEM + GROUPED + "\nz = Conv(y, thirds, b)", "y z"),
}
RESIDUAL = (STEM + "c = Conv<group=8, pads=[1, 1, 1, 1]>(r, depth, b)\ny = Add(c, r)", "y")
ALL = {**CONSTANTS, "thirds": numbers(8, 6, 1, 1, seed=9)}


WINDOWS = STEM + "c = Pow(r, three)\nm = Conv<kernel_shape=[2, 2], group=8>(c, window)\n"


def planned(text, outputs, constants=ALL, images=16):
    """A graph of `text`, its Plan, and the inputs that it was planned on."""
    used = {name: array for name, array in constants.items() if name in text.replace("(", " ").replace(",", " ")}
    graph = separate_biases(network(text, outputs, used, x=(1, 3, 5, 5)))
    feeds = [sample(graph, seed) for seed in range(images)]
    tensors = tensors_to_observe(graph)
    return graph, plan_int8(graph, collect(graph, tensors, feeds)), feeds


def outputs(graph, stored, plan, feeds):
    """By output, what it is in float and in int8: (channels, values) each."""
    model = emit_onnx(stored, plan)
    pairs = [(values_of(graph, feed), run_model(model, feed)) for feed in feeds]
    return {
        name: [np.moveaxis(np.stack([pair[side][name] for pair in pairs]), 2, 0) for side in range(2)]
        for name in graph.outputs
    }


def mean_errors(graph, stored, plan, feeds):
    """By output, how far its int8 mean per channel is from the float mean, at most."""
    found = outputs(graph, stored, plan, feeds)
    return {
        name: np.abs((int8 - exact).reshape(len(exact), -1).mean(axis=1)).max() for name, (exact, int8) in found.items()
    }


def slope_errors(graph, stored, plan, feeds):
    """By output, how far the slope of int8 over float is from 1, on average over channels."""
    found = outputs(graph, stored, plan, feeds)
    return {
        name: np.mean([abs(np.polyfit(x.ravel(), y.ravel(), 1)[0] - 1) for x, y in zip(*sides, strict=True)])
        for name, sides in found.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_no_output_is_wrong_in_the_mean_after_correction(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    plan = with_coarse_weights(plan, 32)
    before = mean_errors(graph, graph, plan, feeds)
    after = mean_errors(graph, *correct(graph, plan, feeds), feeds)
    for output in graph.outputs:
        assert before[output] > plan.tensors[output].scale[0]
        assert after[output] < 0.4 * plan.tensors[output].scale[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_saturates_on_the_way_does_not_shrink_the_output(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    clipped = replace(plan.tensors["r"], scale=(plan.tensors["r"].scale[0] / 2,))
    plan = replace(plan, tensors={**plan.tensors, "a": clipped, "r": clipped})
    plan = replace(plan, tensors={**plan.tensors, **consistent_biases(graph, plan)})
    before = slope_errors(graph, graph, plan, feeds)
    after = slope_errors(graph, *correct(graph, plan, feeds), feeds)
    for output in graph.outputs:
        assert after[output] < 0.5 * before[output]


def consistent_biases(graph, plan):
    layers = [node for node in graph.nodes if node.op in ("Conv", "Gemm") and node.input(2) in plan.tensors]
    return {
        node.inputs[2]: bias_params(plan.tensors[node.inputs[0]], plan.tensors[node.inputs[1]], 0) for node in layers
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_the_integers_stay_what_weights_were_rounded_to(name, monkeypatch):
    graph, plan, feeds = planned(*NETWORKS[name])
    made = []

    def spy(weights, params, inputs):
        made.append(params.quantize(rounded(weights, params, inputs)))
        return params.dequantize(made[-1])

    monkeypatch.setattr("edgefer.quantize.fit.correct.rounded", spy)
    corrected, rescaled = correct(graph, plan, feeds)
    values = [node.inputs[1] for node in graph.nodes if node.input(2)]
    for value, integers in zip(values, made, strict=True):
        np.testing.assert_array_equal(rescaled.tensors[value].quantize(corrected.constants[value]), integers, value)
    assert dict(rescaled.tensors) == dict(rescaled.tensors) | consistent_biases(graph, rescaled)
    assert rescaled.nodes == plan.nodes
    assert corrected.nodes == graph.nodes
    assert dict(corrected.info) == dict(graph.info)


def test_a_layer_that_had_no_bias_is_right_in_the_mean_too():
    graph, plan, feeds = planned(STEM + "y = Conv<kernel_shape=[1, 1]>(r, plain)", "y")
    plan = with_coarse_weights(plan, 32)
    assert mean_errors(graph, *correct(graph, plan, feeds), feeds)["y"] < 0.4 * plan.tensors["y"].scale[0]


def test_inputs_taken_for_independent_leave_weights_to_the_nearest_integers_which_are_corrected(monkeypatch):
    monkeypatch.setattr(rounding, "_WIDEST", 1)
    graph, plan, feeds = planned(*NETWORKS["Gemm of rows"])
    corrected, rescaled = correct(graph, plan, feeds)
    for name in ("w", "rows"):
        np.testing.assert_array_equal(*integers_of(name, graph, plan, corrected, rescaled))
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def integers_of(name, graph, plan, corrected, rescaled):
    """What is stored without correction, and with it."""
    return plan.tensors[name].quantize(graph.constants[name]), rescaled.tensors[name].quantize(
        corrected.constants[name]
    )


def test_gemm_over_several_rows_counts_each_as_an_input():
    text = STEM + "t = Transpose<perm=[0, 2, 3, 1]>(r)\nm = Reshape(t, shape)\ny = Gemm<transB=1>(m, rows, five)"
    graph, plan, feeds = planned(text, "y", {**ALL, "shape": np.array([25, 8])})
    assert plan.is_int8(graph.producers["y"].name)
    errors = mean_errors(graph, *correct(graph, plan, feeds), feeds)
    assert errors["y"] < plan.tensors["y"].scale[0]


def test_a_graph_without_cut_points_is_one_piece():
    text = "a = Conv<kernel_shape=[1, 1]>(x, w, b)\nc = Conv<kernel_shape=[1, 1]>(x, v, b)\ny = Mul(a, c)"
    graph, plan, feeds = planned(text, "y", {**ALL, "w": numbers(8, 3, 1, 1), "v": numbers(8, 3, 1, 1, seed=2)})
    assert cut_points(graph) == ()
    assert pieces(graph) == 1
    corrected, _ = correct(graph, plan, feeds)
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def test_progress_is_told_after_each_piece():
    graph, plan, feeds = planned(*NETWORKS["Gemm of rows"])
    done = []
    correct(graph, plan, feeds, advance=lambda: done.append(None))
    assert len(done) == pieces(graph) == 2


def test_large_values_are_computed_again_rather_than_kept(monkeypatch):
    graph, plan, feeds = planned(*RESIDUAL)
    kept, _ = correct(graph, plan, feeds)
    monkeypatch.setattr("edgefer.quantize.fit.correct._KEPT", 1)
    assert pieces(graph) == 1
    again, _ = correct(graph, plan, feeds)
    for name, array in kept.constants.items():
        np.testing.assert_allclose(again.constants[name], array, 1e-6, 1e-7)


BEHIND = STEM + "c = Conv<pads=[1, 1, 1, 1]>(r, square, b)\ny = Conv<pads=[1, 1, 1, 1]>(c, square, b)"
BESIDE = STEM + "c = Conv(r, square, b)\nd = Conv(a, square, b)\ny = Add(c, d)"


@pytest.mark.parametrize("text", [BEHIND, BESIDE])
def test_layers_that_share_weights_keep_their_scales_and_are_right_in_the_mean(text):
    graph, plan, feeds = planned(text, "y", {**ALL, "square": numbers(8, 8, 3, 3)})
    corrected, rescaled = correct(graph, plan, feeds)
    assert rescaled.tensors["square"] == plan.tensors["square"]
    assert mean_errors(graph, corrected, rescaled, feeds)["y"] < 2 * rescaled.tensors["y"].scale[0]
    before, after = (
        mean_errors(graph, each, plan_, feeds)["y"] for each, plan_ in ((graph, plan), (corrected, rescaled))
    )
    assert after < before


def test_weights_that_branches_share_are_rounded_for_all_of_them(monkeypatch):
    text = STEM + "l = MaxPool<kernel_shape=[3, 3]>(a)\nc = Conv(r, square, b)\nd = Conv(l, square, b)\ny = Add(c, d)"
    graph, plan, feeds = planned(text, "y", {**ALL, "square": numbers(8, 8, 3, 3, seed=3)})
    plan = with_coarse_weights(plan, 8)
    corrected, rescaled = correct(graph, plan, feeds)
    monkeypatch.setattr(rounding, "_WIDEST", 1)
    nearest, kept = correct(graph, plan, feeds)

    def noise(graph_, plan_):
        (sides,) = outputs(graph, graph_, plan_, feeds).values()
        return np.square(sides[1] - sides[0]).sum()

    assert noise(corrected, rescaled) < 0.8 * noise(nearest, kept)


def test_the_slope_of_a_channel_that_is_mostly_noise_does_not_count():
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=(2, 1, 1000))
    exact = np.concatenate([signal, signal])
    gain, shift = _lines(exact, np.concatenate([0.8 * signal + 0.1 * noise + 1, 0.2 * signal + noise]))
    assert gain == pytest.approx([1.25, 1.0], abs=0.02)
    assert shift == pytest.approx([-1.25, 0.0], abs=0.1)


@pytest.mark.parametrize("root", ["g = Pow(m, third)", "g = Sqrt(m)"])
def test_what_goes_into_a_root_is_not_moved_below_zero(root):
    constants = {
        **{name: CONSTANTS[name] for name in ("w", "b", "plain")},
        "window": np.full((8, 1, 2, 2), 0.25, np.float32),
        "three": np.float32(3),
        "third": np.float32(1 / 3),
    }
    graph, plan, feeds = planned(f"{WINDOWS}{root}\ny = Conv(g, plain)", "y", constants)
    stored, plan = correct(graph, plan, feeds)
    layer = next(node for node in stored.nodes if node.inputs[0] == "c")
    np.testing.assert_array_equal(stored.constants[layer.inputs[2]], 0)
    assert all(np.isfinite(array).all() for array in stored.constants.values() if array.dtype.kind == "f")
    for exact, int8 in outputs(graph, stored, plan, feeds).values():
        assert np.isfinite(int8).all()
        assert np.abs(int8 - exact).mean() < 0.05 * np.abs(exact).max()


def test_gain_and_shift_are_nothing_where_no_number_was_found():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(2, 50))
    found = 2 * exact
    found[1, 3] = np.nan
    gain, shift = _lines(exact, found)
    np.testing.assert_allclose(gain, [0.5, 1.0])
    assert shift[1] == 0
