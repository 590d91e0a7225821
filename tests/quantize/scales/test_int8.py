from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.histogram import Histogram
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.integer_kernels import FIXED_OUTPUT
from edgefer.quantize.scales.ranges import mse_optimal, silu
from edgefer.runtime.delegation import undelegated
from tests.emit.harness import sample
from tests.graph.networks import network, numbers

WEIGHTS = {"w": numbers(4, 3, 3, 3), "v": numbers(4, 4, 1, 1, seed=1), "b": numbers(4, seed=2)}


def planned(graph, keep_float=frozenset(), feeds=4):
    tensors = tensors_to_observe(graph, keep_float)
    images = [sample(graph, seed) for seed in range(feeds)]
    return plan_int8(graph, collect(graph, tensors, images), keep_float)


def test_everything_with_an_integer_kernel_computes_in_int8():
    graph = network("a = Conv(x, w, b)\nb1 = Sigmoid(a)\nc = Exp(b1)\ny = Conv(c, v)", "y", WEIGHTS)
    plan = planned(graph)
    assert dict(plan.nodes) == {"Conv_0": "int8", "Sigmoid_1": "int8", "Conv_3": "int8"}
    assert set(plan.tensors) == {"x", "w", "b", "a", "b1", "c", "v", "y"}


def test_nodes_kept_float_store_nothing_of_their_own():
    graph = network("a = Conv(x, w)\nb1 = Sigmoid(a)\ny = Conv(b1, v)", "y", WEIGHTS)
    plan = planned(graph, frozenset({"Conv_0", "Sigmoid_1"}))
    assert dict(plan.nodes) == {"Conv_2": "int8"}
    assert set(plan.tensors) == {"b1", "v", "y"}
    assert plan.tensors["b1"] == FIXED_OUTPUT["Sigmoid"]  # as where the Sigmoid computes in int8


@pytest.mark.parametrize(
    "summed",
    [
        "y = Add(a, tiny)",
        "t = Conv(x, faint)\ny = Sub(a, t)",
        "t = Conv(x, faint)\ns = Reshape(t, shape)\nr = Reshape(s, back)\ny = Add(a, r)",
    ],
)
def test_what_is_added_is_large_enough_beside_the_sum_for_xnnpack(summed):
    faint = numbers(4, 3, 1, 1) * np.float32(1e-6)
    shapes = {"shape": np.array([1, 100]), "back": np.array([1, 4, 5, 5])}
    constants = {"w": numbers(4, 3, 1, 1) * np.float32(9), "tiny": np.float32(1e-5), "faint": faint, **shapes}
    graph = network(f"a = Conv(x, w)\n{summed}", "y", constants)
    plan = planned(graph)
    assert plan.nodes.keys() == graph.named.keys()
    total = graph.producers["y"]
    assert min(plan.tensors[value].scale[0] for value in total.inputs) == plan.tensors["y"].scale[0] / 1024
    assert undelegated(emit_tflite(graph, plan)) == []


def test_what_is_read_elsewhere_keeps_its_steps():
    faint = numbers(4, 3, 1, 1) * np.float32(1e-6)
    constants = {"w": WEIGHTS["w"][:, :, :1, :1], "faint": faint}
    graph = network("a = Conv(x, w)\nt = Conv(x, faint)\ny = Add(a, t)\nz = Relu(t)", "y z", constants)
    plan = planned(graph)
    assert plan.tensors["t"].scale[0] < plan.tensors["y"].scale[0] / 1024


def test_what_kernels_prescribe_is_not_made_coarser():
    constants = {"w": numbers(4, 3, 1, 1) * np.float32(1e4)}
    graph = network("a = Conv(x, w)\nt = Sigmoid(a)\nb1 = Conv(x, w)\ny = Add(b1, t)", "y", constants)
    plan = planned(graph)
    assert plan.tensors["t"] == FIXED_OUTPUT["Sigmoid"]
    assert plan.tensors["t"].scale[0] < plan.tensors["y"].scale[0] / 1024


def test_keeping_all_float_is_the_empty_plan():
    graph = network("a = Conv(x, w)\ny = Relu(a)", "y", WEIGHTS)
    plan = plan_int8(graph, {}, frozenset(graph.named))
    assert not plan.nodes and not plan.tensors


@pytest.mark.parametrize(
    "moving",
    [
        "MaxPool<kernel_shape=[2, 2]>(a)",
        "Reshape(a, shape)",
        "Transpose<perm=[0, 2, 1, 3]>(a)",
        "Slice(a, one, two, one)",
        "Pad(a, pads)",
        "Relu(a)",
        "Concat<axis=1>(a, x)",
        'Resize<mode="linear">(a, , , sizes)',
        "Flatten(a)",
        "Gather<axis=2>(a, two)",
        "DepthToSpace<blocksize=1>(a)",
        "Clip(a, low)",
    ],
)
def test_what_only_moves_numbers_stores_them_alike(moving):
    constants = {
        "shape": np.array([1, -1]),
        "one": np.array([1]),
        "two": np.array([2]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "sizes": np.array([1, 3, 7, 7]),
        "low": np.float32(0),
    }
    plan = planned(network(f"a = Add(x, x)\nm = {moving}\ny = Add(m, m)", "y", constants))
    assert plan.tensors["a"] == plan.tensors["m"]
    if moving.startswith("Concat"):
        assert plan.tensors["x"] == plan.tensors["m"]


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_kernels_that_prescribe_their_output_get_it_and_hand_it_on(op):
    graph = network(f"a = {op}(x)\nm = MaxPool<kernel_shape=[2, 2]>(a)\ny = Conv(m, w)", "y", WEIGHTS)
    plan = planned(graph)
    assert plan.tensors["a"] == plan.tensors["m"] == FIXED_OUTPUT[op]
    assert "a" not in tensors_to_observe(graph)


@pytest.mark.parametrize("members", ["s, t", "s, x"])
def test_a_concat_of_what_cannot_be_stored_alike_stays_float(members):
    graph = network(f"s = Sigmoid(x)\nt = Tanh(x)\nc = Concat<axis=1>({members})\ny = Neg(c)", "y c")
    plan = planned(graph)
    assert set(plan.nodes) == {"Sigmoid_0", "Tanh_1"}
    assert plan.tensors["s"] == FIXED_OUTPUT["Sigmoid"]
    assert "c" not in plan.tensors


def test_a_concat_that_stays_float_needs_no_statistics():
    graph = network("s = Sigmoid(x)\nc = Concat<axis=1>(s, x)\ny = Exp(c)", "y")
    assert planned(graph, frozenset({"Sigmoid_0"})).nodes == {}
    alone = network("a = Exp(x)\ns = Sigmoid(a)\nt = Exp(x)\ny = Concat<axis=1>(s, t)", "y")
    assert tensors_to_observe(alone) == ("a",)
    assert set(planned(alone).nodes) == {"Sigmoid_1"}


def test_a_concat_with_a_constant_stays_float():
    graph = network("a = Sigmoid(x)\ny = Concat<axis=1>(a, c)", "y", {"c": numbers(1, 1, 5, 5)})
    assert set(planned(graph).nodes) == {"Sigmoid_0"}


def test_a_bias_is_stored_at_the_input_scale_times_the_weight_scales():
    plan = planned(network("y = Conv(x, w, b)", "y", WEIGHTS))
    products = np.float32(plan.tensors["x"].scale[0]) * np.asarray(plan.tensors["w"].scale, np.float32)
    assert plan.tensors["b"].dtype == "int32"
    np.testing.assert_array_equal(np.asarray(plan.tensors["b"].scale, np.float32), products)
    assert all(float(np.float32(scale)) == scale for params in plan.tensors.values() for scale in params.scale)
    found = plan.tensors["b"].dequantize(plan.tensors["b"].quantize(WEIGHTS["b"]))
    np.testing.assert_allclose(found, WEIGHTS["b"], atol=float(products.max()))


@pytest.mark.parametrize("gemm", ["Gemm<transB=1>(x, w, b)", "Gemm(x, v, b)", "Gemm(x, v, rows)"])
def test_weights_have_a_scale_for_each_output(gemm):
    constants = {"w": numbers(4, 3), "v": numbers(3, 4), "b": numbers(4), "rows": numbers(1, 4)}
    plan = planned(network(f"y = {gemm}", "y", constants, x=(1, 3)))
    name = "w" if "transB" in gemm else "v"
    assert plan.tensors[name].axis == (0 if name == "w" else 1)
    assert len(plan.tensors[name].scale) == 4
    assert plan.tensors[name].narrow


@pytest.mark.parametrize("gemm", ["Gemm<alpha=0.5>(x, v)", "Gemm<transA=1>(x, r)", "Gemm(x, v, one)", "Gemm(x, t)"])
def test_a_gemm_that_is_not_weights_and_bias_stays_float(gemm):
    constants = {"v": numbers(3, 4), "r": numbers(1, 4), "one": numbers(1)}
    text = f"t = Transpose<perm=[1, 0]>(x)\na = {gemm}\ny = Exp(a)"
    graph = network(text, "y t", constants, x=(1, 3))
    assert "Gemm_1" not in planned(graph).nodes


@pytest.mark.parametrize("bias", [0.0, 0.5, 3e4])
def test_a_dead_channel_keeps_its_bias(bias):
    weights = WEIGHTS["w"].copy()
    weights[2] = 0
    constants = {"w": weights, "b": np.full(4, bias, np.float32)}
    plan = planned(network("y = Conv(x, w, b)", "y", constants))
    stored = plan.tensors["b"].quantize(constants["b"])
    assert np.abs(stored).max() <= 2**22
    np.testing.assert_allclose(plan.tensors["b"].dequantize(stored), constants["b"], rtol=1e-3)
    assert not plan.tensors["w"].quantize(weights)[2].any()


def test_a_layer_that_is_dead_altogether_is_planned_without_infinities():
    constants = {"w": np.zeros((4, 3, 3, 3), np.float32), "b": np.zeros(4, np.float32)}
    plan = planned(network("y = Conv(x, w, b)", "y", constants))
    assert all(0 < scale < np.inf for params in plan.tensors.values() for scale in params.scale)


def test_a_bias_shared_by_layers_of_other_scales_is_int8_in_the_first_only():
    text = "a = Conv(x, w, b)\nc = Mul(a, hundred)\ny = Conv(c, v, b)"
    graph = network(text, "y", {**WEIGHTS, "hundred": np.float32(100)})
    plan = planned(graph)
    assert plan.is_int8("Conv_0") and not plan.is_int8("Conv_2")
    assert "v" not in plan.tensors


def test_weights_shared_without_a_bias_are_int8_in_both_layers():
    graph = network("a = Conv(x, v)\ny = Conv(a, v)", "y", {"v": numbers(3, 3, 1, 1)})
    assert set(planned(graph).nodes) == {"Conv_0", "Conv_1"}


def test_the_input_of_a_silu_is_judged_after_it():
    graph = network("s = Sigmoid(x)\ny = Mul(x, s)", "y", x=(1, 1, 100, 100))
    histogram = Histogram()
    histogram.add(np.random.default_rng(0).uniform(-70, 5, 10_000).astype(np.float32))
    other = Histogram()
    other.add(np.float32([-0.3, 5]))
    plan = plan_int8(graph, {"x": histogram, "y": other})
    assert plan.tensors["x"] == mse_optimal(histogram, silu)
    read_elsewhere = replace(graph, outputs=("y", "x"))
    assert plan_int8(read_elsewhere, {"x": histogram, "y": other}).tensors["x"] == mse_optimal(histogram)


def test_before_a_relu_only_what_it_lets_through_counts():
    graph = network("y = Relu(x)", "y", x=(1, 1, 8, 8))
    before, behind = Histogram(), Histogram()
    before.add(np.float32([-100, 1]))
    behind.add(np.float32([0, 1]))
    histograms = {"x": before, "y": behind}
    assert plan_int8(graph, histograms).tensors["y"] == mse_optimal(behind)
    read_elsewhere = replace(graph, outputs=("y", "x"))
    assert plan_int8(read_elsewhere, histograms).tensors["y"] == mse_optimal(before.merged(behind))


def test_what_is_observed_is_what_the_plan_needs_and_no_more():
    text = "a = Conv(x, w, b)\ns = Sigmoid(a)\nm = Mul(a, s)\nc = Exp(m)\ny = Neg(c)"
    graph = normalise(network(text, "y", WEIGHTS))
    assert tensors_to_observe(graph) == ("x", "a", "m")
    assert set(planned(graph).nodes) == {"Conv_0", "Sigmoid_1", "Mul_2"}
    assert to_onnx(graph, tensors_to_observe(graph)).graph.output[0].name == "y"
