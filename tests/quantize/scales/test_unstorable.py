"""What 256 numbers cannot hold computes in float: fills, what roots read, and scales too far apart."""

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.unstorable import filled_values, is_read_by_root, must_keep_sign
from tests.emit.harness import run_as_shipped, run_onnx, run_tflite, sample
from tests.graph.networks import network, numbers

MASK = np.array([[0, 1, 0, 0, 1]], np.float32)
FILLS = (-1e4, -1e9, float(np.finfo(np.float32).min))
GEM = """
c = Conv(x, w)
r = Relu(c)
cubes = Pow(r, three)
mean = GlobalAveragePool(cubes)
root = Pow(mean, third)
y = Conv(root, v)
"""


def planned(graph):
    tensors = tensors_to_observe(graph)
    return plan_int8(graph, collect(graph, tensors, [sample(graph, seed) for seed in range(4)]))


def assert_litert_agrees(graph, plan, off=0.02):
    feeds = sample(graph)
    expected = run_onnx(graph, feeds)["y"]
    stored = {name: plan.tensors[name].quantize(array) for name, array in feeds.items()}
    found = run_tflite(emit_tflite(graph, plan), stored)["y"]
    real = plan.tensors["y"].dequantize(found) if "y" in plan.tensors else found
    np.testing.assert_allclose(real, expected, atol=off * float(np.abs(expected).max()))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("masked", ["Add(scores, fill)", "Where(open, scores, low)"])
def test_a_masks_fill_enters_no_range_and_ends_no_process(fill, masked):
    constants = {"w": numbers(5, 5), "fill": fill * MASK, "open": MASK == 0, "low": np.float32(fill)}
    text = f"scores = MatMul(x, w)\nmasked = {masked}\nturned = Reshape(masked, s)\ny = Softmax(turned)"
    graph = network(text, "y", {**constants, "s": np.array([1, 4, 5])}, (1, 4, 5))
    plan = planned(graph)
    assert plan.is_int8("MatMul_0")
    assert not plan.tensors.keys() & {"masked", "turned", "fill"}
    if "Where" not in masked:  # which another test of the emitter has
        assert_litert_agrees(graph, plan)


@pytest.mark.parametrize("fill", FILLS)
def test_a_mask_that_became_a_layers_bias_enters_no_range(fill):
    text = "scores = Gemm(x, w, b)\nturned = Reshape(scores, s)\ny = Softmax(turned)"
    graph = network(text, "y", {"w": numbers(5, 5), "b": fill * MASK[0], "s": np.array([1, 4, 5])}, (4, 5))
    assert not planned(graph).nodes


@pytest.mark.parametrize("fill", [-100.0, -np.inf])
@pytest.mark.parametrize(
    "masked",
    ["masked = Add(scores, fill)", "masked = Where(open, scores, low)", "masked = Sub(scores, above)"],
)
def test_masked_attention_is_as_exact_as_its_products(fill, masked):
    hidden = np.triu(np.ones((6, 6), bool), 1)
    constants = {name: numbers(8, 8, seed=seed) for seed, name in enumerate("qkvh")}
    constants["q"] /= 8  # so that no share is all or nothing
    constants |= {"fill": np.where(hidden, fill, 0).astype(np.float32), "open": ~hidden, "low": np.float32(fill)}
    constants["above"] = -constants["fill"]
    text = f"""
    a = MatMul(x, q)
    b = MatMul(x, k)
    turned = Transpose<perm=[0, 2, 1]>(b)
    scores = MatMul(a, turned)
    {masked}
    shares = Softmax(masked)
    c = MatMul(x, v)
    mixed = MatMul(shares, c)
    y = MatMul(mixed, h)
    """
    graph = normalise(network(text, "y", constants, (1, 6, 8)))
    plan = planned(graph)
    assert {"scores", "masked", "fill", "above"}.isdisjoint(plan.tensors)
    feeds = sample(graph)
    expected, found = run_onnx(graph, feeds)["y"], run_as_shipped(emit_onnx(graph, plan), feeds)["y"]
    np.testing.assert_allclose(found, expected, atol=0.04 * float(np.abs(expected).max()))
    assert_litert_agrees(graph, plan, 0.04)


def test_a_fill_goes_no_further_than_what_it_is_made_for():
    graph = network(
        "a = Add(x, fill)\nb = Softmax(a)\ny = MatMul(b, w)", "y", {"fill": -1e9 * MASK, "w": numbers(5, 2)}, (1, 5)
    )
    assert filled_values(graph) == {"fill", "a"}


def test_large_bounds_and_factors_are_no_fills():
    text = "a = Clip(x, low, high)\nb = Mul(a, large)\ny = Relu(b)"
    graph = network(text, "y", {"low": np.float32(0), "high": np.float32(3e38), "large": np.float32(2e4)})
    assert filled_values(graph) == {"high", "large"}
    assert planned(graph).nodes.keys() == {"Clip_0", "Mul_1", "Relu_2"}


def test_a_mean_under_a_root_is_not_stored():
    graph = network(
        GEM,
        "y",
        {"w": numbers(4, 3, 3, 3), "v": numbers(4, 4, 1, 1), "three": np.float32(3), "third": np.float32(1 / 3)},
    )
    plan = planned(graph)
    assert plan.nodes.keys() == {"Conv_0", "Conv_5"}
    assert not plan.tensors.keys() & {"cubes", "mean"}


@pytest.mark.parametrize("steep", ["Sqrt(shifted)", "Log(shifted)", "Div(x, shifted)", "Pow(shifted, minus)"])
def test_what_lies_between_a_mean_and_a_root_is_not_stored_either(steep):
    text = f"squares = Mul(x, x)\nmean = ReduceMean(squares, axes)\nshifted = Add(mean, small)\ny = {steep}"
    constants = {"axes": np.array([1]), "small": np.float32(1e-5), "minus": np.float32(-0.5)}
    graph = network(text, "y", constants)
    assert [node.op for node in graph.nodes if is_read_by_root(graph, node)] == ["Mul", "ReduceMean", "Add"]


def test_a_layer_with_weights_is_stored_whatever_reads_it():
    graph = network("a = Conv(x, w)\ny = Exp(a)\nz = Sqrt(a)", "y z", {"w": numbers(4, 3, 1, 1)})
    assert not is_read_by_root(graph, graph.nodes[0])


@pytest.mark.parametrize(
    ("between", "kept"),
    [
        ("z = Sqrt(a)", True),
        ("z = Pow(a, third)", True),
        ("m = ReduceMean(a, axes)\nn = Add(m, third)\nz = Log(n)", True),
        ("d = Mul(a, third)\nz = Div(x, d)", True),
        ("z = Div(a, third)", False),
        ("s = Mul(a, a)\nz = Sqrt(s)", False),
        ("r = Relu(a)\nz = Sqrt(r)", False),
        ("z = Exp(a)", False),
    ],
)
def test_layers_whose_sign_a_root_reads_are_known(between, kept):
    constants = {"w": numbers(3, 3, 1, 1), "third": np.float32(1 / 3), "axes": np.array([1])}
    graph = network(f"a = Conv(x, w)\n{between}", "z", constants)
    assert must_keep_sign(graph, graph.nodes[0]) == kept


def test_scales_that_no_kernel_can_bring_together_are_not_brought_together():
    text = "small = Mul(x, tiny)\nother = Mul(x, big)\nback = Sub(other, other)\nsum = Add(small, back)\ny = Relu(sum)"
    graph = network(text, "y", {"tiny": np.float32(1e-4), "big": np.float32(50)})
    plan = planned(graph)
    assert not plan.is_int8("Add_3")
    assert_litert_agrees(graph, plan)
