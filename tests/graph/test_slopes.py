"""PReLUs whose slopes are whole fractions: integers give what float gives."""

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.graph.slopes import FRACTIONS, fractions, with_whole_slopes
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from tests.emit.harness import run_as_shipped, run_tflite, sample
from tests.graph.networks import network, numbers

SLOPES = np.float32([0, 0.25, 0.6180339, 1]).reshape(4, 1, 1)
TEXT = "a = Conv(x, w)\nb = PRelu(a, slope)\ny = Conv(b, v)"


def prelu_network(slopes, text=TEXT):
    return network(text, "y", {"w": numbers(4, 3, 1, 1), "v": numbers(2, 4, 1, 1), "slope": slopes}, (1, 3, 40, 40))


def planned(graph):
    tensors = tensors_to_observe(graph)
    return plan_int8(graph, collect(graph, tensors, [sample(graph, seed) for seed in range(4)]))


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_slopes_are_rounded_to_fractions_of_what_is_lacking_to_one():
    graph = prelu_network(SLOPES)
    rounded = with_whole_slopes(graph)
    assert fractions(graph, graph.nodes[1]) is None
    assert fractions(rounded, rounded.nodes[1]).ravel().tolist() == [255, 191, 97, 0]
    assert np.abs(rounded.constants["slope"] - SLOPES).max() <= 0.5 / FRACTIONS


@pytest.mark.parametrize("slope", [-0.25, 1.5])
def test_slopes_beyond_zero_to_one_stay(slope):
    graph = prelu_network(np.where(SLOPES == 0, np.float32(slope), SLOPES))
    np.testing.assert_array_equal(with_whole_slopes(graph).constants["slope"], graph.constants["slope"])


def test_integers_give_what_float_gives_to_the_bit():
    graph = with_whole_slopes(prelu_network(SLOPES))
    plan = planned(graph)
    assert plan.tensors["a"] == plan.tensors["b"] and not plan.is_int8("PRelu_1")
    model = emit_onnx(graph, plan)
    assert not {"PRelu", "Max"} & set(operators(model))
    x, y = plan.tensors["x"], plan.tensors["y"]
    stored = x.quantize(sample(graph, 9, scale=1.5)["x"])
    found = run_as_shipped(model, {"x": x.dequantize(stored)})["y"]
    np.testing.assert_array_equal(y.quantize(found), run_tflite(emit_tflite(graph, plan), {"x": stored})["y"])


@pytest.mark.parametrize(
    "text",
    ["a = Conv(x, w)\ny = PRelu(a, slope)", TEXT.replace("PRelu(a", "PRelu(c").replace("b =", "c = Exp(a)\nb =")],
)
def test_what_float_makes_or_is_returned_stays_in_float(text):
    graph = with_whole_slopes(prelu_network(SLOPES, text))
    assert "Max" in operators(emit_onnx(graph, planned(graph)))
