from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.passes.separate_biases import separate_biases
from edgefer.graph.subgraph import cut_points
from edgefer.quantize.biases import correct_biases, pieces
from edgefer.quantize.int8 import plan_int8, tensors_to_observe
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
    after = mean_errors(graph, correct_biases(graph, plan, feeds), plan, feeds)
    for output in graph.outputs:
        assert before[output] > plan.tensors[output].scale[0]
        assert after[output] < 0.4 * plan.tensors[output].scale[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_integers_of_the_weights_stay(name):
    graph, plan, feeds = planned(*NETWORKS[name])
    corrected = correct_biases(graph, plan, feeds)
    for value, params in plan.tensors.items():
        if params.narrow:
            before, after = (params.quantize(g.constants[value]) for g in (graph, corrected))
            np.testing.assert_array_equal(before, after, value)
    assert corrected.nodes == graph.nodes
    assert dict(corrected.info) == dict(graph.info)


def test_a_layer_without_a_bias_is_left_alone():
    graph, plan, feeds = planned(STEM + "y = Conv<kernel_shape=[1, 1]>(r, plain)", "y")
    corrected = correct_biases(graph, plan, feeds)
    np.testing.assert_array_equal(corrected.constants["plain"], graph.constants["plain"])
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def test_gemm_over_several_rows_counts_each_as_an_input():
    text = STEM + "t = Transpose<perm=[0, 2, 3, 1]>(r)\nm = Reshape(t, shape)\ny = Gemm<transB=1>(m, rows, five)"
    graph, plan, feeds = planned(text, "y", {**ALL, "shape": np.array([25, 8])})
    assert plan.is_int8(graph.producers["y"].name)
    errors = mean_errors(graph, correct_biases(graph, plan, feeds), plan, feeds)
    assert errors["y"] < plan.tensors["y"].scale[0]


def test_a_graph_without_cut_points_is_one_piece():
    text = "a = Conv<kernel_shape=[1, 1]>(x, w, b)\nc = Conv<kernel_shape=[1, 1]>(x, v, b)\ny = Mul(a, c)"
    graph, plan, feeds = planned(text, "y", {**ALL, "w": numbers(8, 3, 1, 1), "v": numbers(8, 3, 1, 1, seed=2)})
    assert cut_points(graph) == ()
    assert pieces(graph) == 1
    corrected = correct_biases(graph, plan, feeds)
    assert not np.array_equal(corrected.constants["b"], graph.constants["b"])


def test_progress_is_told_after_each_piece():
    graph, plan, feeds = planned(*NETWORKS["Gemm of rows"])
    done = []
    correct_biases(graph, plan, feeds, advance=lambda: done.append(None))
    assert len(done) == pieces(graph) == 2


def test_large_values_are_computed_again_rather_than_kept(monkeypatch):
    graph, plan, feeds = planned(*RESIDUAL)
    kept = correct_biases(graph, plan, feeds)
    monkeypatch.setattr("edgefer.quantize.biases._KEPT", 1)
    assert pieces(graph) == 1
    again = correct_biases(graph, plan, feeds)
    for name, array in kept.constants.items():
        np.testing.assert_allclose(again.constants[name], array, 1e-6, 1e-7)
