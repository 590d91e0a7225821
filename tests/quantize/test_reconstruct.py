from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.passes.separate_biases import separate_biases
from edgefer.graph.subgraph import cut_points
from edgefer.quantize.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.reconstruct import pieces, reconstruct, round_to_grid
from edgefer.quantize.statistics import collect
from tests.emit.harness import run_model, sample, values_of
from tests.graph.networks import network, numbers

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


def planned(text, outputs, constants=ALL, images=16):
    """A graph of `text`, its Plan, and the inputs that it was planned on."""
    used = {name: array for name, array in constants.items() if name in text.replace("(", " ").replace(",", " ")}
    graph = separate_biases(network(text, outputs, used, x=(1, 3, 5, 5)))
    feeds = [sample(graph, seed)["x"] for seed in range(images)]
    tensors = tensors_to_observe(graph)
    return graph, plan_int8(graph, collect(graph, tensors, feeds)), feeds


def with_coarse_weights(plan):
    """A Plan in which weights have so few levels that each layer's mean is off."""
    coarse = {
        name: replace(params, scale=tuple(32 * scale for scale in params.scale))
        for name, params in plan.tensors.items()
        if params.narrow or params.dtype == "int32"
    }
    return replace(plan, tensors={**plan.tensors, **coarse})


def mean_errors(graph, corrected, plan, feeds):
    """By output, how far its int8 mean per channel is from the float mean, at most."""
    model = emit_onnx(corrected, plan)
    pairs = [(values_of(graph, {"x": feed}), run_model(model, {"x": feed})) for feed in feeds]
    errors = {}
    for name in graph.outputs:
        difference = np.stack([found[name] - exact[name] for exact, found in pairs])
        errors[name] = np.abs(difference.mean(axis=(0, *range(3, difference.ndim)))).max()
    return errors


@pytest.mark.parametrize("name", NETWORKS)
def test_no_output_is_wrong_in_the_mean_after_correction(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    plan = with_coarse_weights(plan)
    before = mean_errors(graph, graph, plan, feeds)
    after = mean_errors(graph, reconstruct(graph, plan, feeds, rounding=False), plan, feeds)
    for output in graph.outputs:
        assert before[output] > plan.tensors[output].scale[0]
        assert after[output] < 0.4 * plan.tensors[output].scale[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_without_rounding_the_integers_of_the_weights_stay(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    corrected = reconstruct(graph, plan, feeds, rounding=False)
    for value, params in plan.tensors.items():
        if params.narrow:
            before, after = (params.quantize(g.constants[value]) for g in (graph, corrected))
            np.testing.assert_array_equal(before, after, value)
    assert corrected.nodes == graph.nodes
    assert dict(corrected.info) == dict(graph.info)


@pytest.mark.parametrize("name", NETWORKS)
def test_rounding_moves_no_weight_off_its_grid_or_by_more_than_a_few_steps(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    rounded = reconstruct(graph, plan, feeds, rounding=True)
    for value, params in plan.tensors.items():
        if params.narrow:
            stored = params.quantize(rounded.constants[value])
            np.testing.assert_allclose(params.dequantize(stored), rounded.constants[value], 1e-6, 1e-9)
            assert np.abs(stored.astype(int) - params.quantize(graph.constants[value])).max() <= 8


def test_rounding_against_the_inputs_reproduces_a_layer_better_than_nearest_rounding():
    text, outputs = "y = Conv<kernel_shape=[1, 1]>(x, w, b)", "y"
    rng = np.random.default_rng(0)
    constants = {"w": numbers(16, 24, 1, 1), "b": numbers(16, seed=1)}
    graph = network(text, outputs, constants, x=(1, 24, 6, 6))
    mixing = rng.normal(size=(24, 4))  # 24 channels that only four things move
    feeds = [np.einsum("cf,fhw->chw", mixing, rng.normal(size=(4, 6, 6)))[None].astype(np.float32) for _ in range(32)]
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), feeds))
    scale = np.asarray(plan.tensors["w"].scale)[:, None] * 16  # coarse, so that weights are what is wrong
    weights = graph.constants["w"].reshape(1, 16, 24).astype(np.float64)
    inputs = np.concatenate([feed.reshape(24, -1) for feed in feeds], axis=1).astype(np.float64)
    covariance = np.cov(inputs, bias=True)[None]

    def error(integers):
        return np.mean(((integers[0] * scale - weights[0]) @ (inputs - inputs.mean(axis=1, keepdims=True))) ** 2)

    assert error(round_to_grid(weights, covariance, scale.T)) < 0.3 * error(np.rint(weights / scale[None]))


def test_a_layer_without_a_bias_is_left_alone():
    graph, plan, feeds = planned(STEM + "y = Conv<kernel_shape=[1, 1]>(r, plain)", "y")
    corrected = reconstruct(graph, plan, feeds, rounding=False)
    np.testing.assert_array_equal(corrected.constants["plain"], graph.constants["plain"])
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def test_gemm_over_several_rows_counts_each_as_an_input():
    text = STEM + "t = Transpose<perm=[0, 2, 3, 1]>(r)\nm = Reshape(t, shape)\ny = Gemm<transB=1>(m, rows, five)"
    graph, plan, feeds = planned(text, "y", {**ALL, "shape": np.array([25, 8])})
    assert plan.is_int8(graph.producers["y"].name)
    errors = mean_errors(graph, reconstruct(graph, plan, feeds, rounding=False), plan, feeds)
    assert errors["y"] < plan.tensors["y"].scale[0]


def test_a_graph_without_cut_points_is_one_piece():
    text = "a = Conv<kernel_shape=[1, 1]>(x, w, b)\nc = Conv<kernel_shape=[1, 1]>(x, v, b)\ny = Mul(a, c)"
    graph, plan, feeds = planned(text, "y", {**ALL, "w": numbers(8, 3, 1, 1), "v": numbers(8, 3, 1, 1, seed=2)})
    assert cut_points(graph) == ()
    assert pieces(graph) == 1
    corrected = reconstruct(graph, plan, feeds, rounding=False)
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def test_progress_is_told_after_each_piece():
    graph, plan, feeds = planned(*NETWORKS["Gemm of rows"])
    done = []
    reconstruct(graph, plan, feeds, rounding=False, advance=lambda: done.append(None))
    assert len(done) == pieces(graph) == 2


def test_large_values_are_computed_again_rather_than_kept(monkeypatch):
    graph, plan, feeds = planned(*RESIDUAL)
    kept = reconstruct(graph, plan, feeds, rounding=False)
    monkeypatch.setattr("edgefer.quantize.reconstruct._KEPT", 1)
    assert pieces(graph) == 1
    again = reconstruct(graph, plan, feeds, rounding=False)
    for name, array in kept.constants.items():
        np.testing.assert_allclose(again.constants[name], array, 1e-6, 1e-7)


@st.composite
def layers(draw):
    """Weights, a covariance of inputs, and scales, of one to three groups."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups, outputs, inputs = draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 80)))
    weights = rng.normal(size=(groups, outputs, inputs))
    rank = draw(st.integers(0, inputs))
    factor = rng.normal(size=(groups, inputs, rank)) * rng.lognormal(size=(groups, inputs, 1))
    levels = draw(st.sampled_from([1, 3, 7, 127]))
    return weights, factor @ factor.swapaxes(1, 2), np.abs(weights).max(axis=2) / levels


def harm(weights, covariance, scale, integers):
    """E |W x - W' x|^2 per output, with the damping that the method adds."""
    power = np.einsum("gii->gi", covariance).mean(axis=1)
    damped = covariance + np.eye(covariance.shape[1]) * (0.01 * power + 1e-12)[:, None, None]
    error = integers * scale[:, :, None] - weights
    return np.einsum("goi,gij,goj->go", error, damped, error)


@given(layers())
def test_integers_are_whole_and_in_range(layer):
    integers = round_to_grid(*layer)
    np.testing.assert_array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() <= 127


@given(layers())
def test_uncorrelated_inputs_mean_nearest_rounding(layer):
    weights, covariance, scale = layer
    diagonal = covariance * np.eye(covariance.shape[1])
    np.testing.assert_array_equal(round_to_grid(weights, diagonal, scale), np.rint(weights / scale[:, :, None]))


@given(layers())
def test_rounding_never_harms_much_more_than_its_guarantee(layer):
    weights, covariance, scale = layer
    fine = scale[:, :, None] / scale[:, :, None].max() * np.abs(weights).max() / 20  # no clipping
    fine = np.broadcast_to(fine, (*scale.shape, 1))[:, :, 0]
    found = harm(weights, covariance, fine, round_to_grid(weights, covariance, fine))
    power = np.einsum("gii->gi", covariance).mean(axis=1)
    damped = covariance + np.eye(covariance.shape[1]) * (0.01 * power + 1e-12)[:, None, None]
    bound = np.einsum("gii->g", damped)[:, None] * fine**2 / 4  # each input's error is at most half a step
    assert (found <= bound * (1 + 1e-9)).all()
