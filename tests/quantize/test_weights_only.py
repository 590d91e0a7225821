"""Small weights alone: what float16 cannot hold is said in other steps, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.errors import InputError
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from edgefer.quantize.weights_only import FLOAT16, within_float16
from edgefer.runtime.delegation import undelegated
from tests.emit.harness import run_model, run_onnx, run_tflite, sample
from tests.graph.networks import assert_same_outputs, network, numbers, operators


def test_float16_weights_are_stored_once_and_computed_with_in_both_files():
    graph = network("a = Conv(x, w)\nb = Relu(a)\ny = Conv(b, w)", "y", {"w": numbers(3, 3, 3, 3)}, x=(1, 3, 9, 9))
    plan, feeds = Plan({"w": FLOAT16}), sample(graph)
    half = {"w": graph.constants["w"].astype(np.float16).astype(np.float32)}
    expected = run_onnx(graph.with_constants(half), feeds)["y"]
    model = emit_tflite(graph, plan)
    np.testing.assert_allclose(run_tflite(model, feeds)["y"], expected, atol=1e-5)
    np.testing.assert_allclose(run_model(emit_onnx(graph, plan), feeds)["y"], expected, atol=1e-5)
    assert undelegated(model) == []
    assert Plan.from_json(plan.to_json()) == plan
    stored = [tensor for tensor in unpack(model).subgraphs[0].tensors if tensor.type == schema.TensorType.FLOAT16]
    assert len({tensor.buffer for tensor in stored}) == 1


def test_means_of_large_maps_and_norms_of_large_numbers_are_said_in_steps_that_fit():
    text = "a = GlobalAveragePool(x)\nb = Add(x, a)\ny = LayerNormalization<axis=1, epsilon=0.1>(b, scale, shift)"
    graph = network(text, "y", {"scale": numbers(3, 9, 9), "shift": numbers(3, 9, 9)}, x=(1, 3, 9, 9))
    assert within_float16(graph, {"x": 1.0, "b": 2.0}) is graph
    changed = within_float16(graph, {"x": 900.0, "b": 1800.0})
    assert operators(changed) == ["ReduceMean", "ReduceMean", "Add", "Mul", "LayerNormalization"]
    assert_same_outputs(graph, changed)


@pytest.mark.parametrize("square", ["Mul(x, x)", "Pow(x, two)"])
def test_lengths_of_large_numbers_are_taken_in_another_unit(square):
    text = f"s = {square}\nt = ReduceSum<keepdims=0>(s, axes)\na = Sqrt(t)\ny = Relu(a)"
    constants = {"axes": np.array([1, 2]), "two": np.float32(2)}
    graph = network(text, "y", constants, x=(1, 3, 9, 9))
    assert within_float16(graph, {"s": 50.0, "t": 9_000.0, "a": 95.0}) is graph
    changed = within_float16(graph, {"s": 900.0, "t": 120_000.0, "a": 350.0})
    assert operators(changed) == ["Mul", "Mul", "ReduceSum", "Sqrt", "Mul", "Relu"]
    assert changed.constants[changed.nodes[0].inputs[1]] == 0.25
    assert_same_outputs(graph, changed)


def test_squares_that_others_read_too_must_fit():
    text = "s = Mul(x, x)\nt = ReduceSum(s, axes)\na = Sqrt(t)\ny = Add(s, a)"
    graph = network(text, "y", {"axes": np.array([1])}, x=(1, 3, 9, 9))
    with pytest.raises(InputError, match=r"node .*Mul.* makes numbers of up to 90,000"):
        within_float16(graph, {"s": 90_000.0})


@pytest.mark.parametrize("op", ["Mish", "Sign", "Erf", "Softplus", "ThresholdedRelu", "Shrink", "Selu"])
def test_what_activations_are_restated_as_fits_where_their_numbers_do(op):
    graph = normalise(network(f"a = Mul(x, wide)\ny = {op}(a)", "y", {"wide": np.float32(30)}, x=(1, 3, 9, 9)))
    made = tuple(value for node in graph.nodes for value in node.outputs)
    found = run_onnx(replace(graph, outputs=made), sample(graph))
    assert within_float16(graph, {value: float(np.abs(array).max()) for value, array in found.items()}) is graph


@pytest.mark.parametrize("sizes", [{"a": 70_000.0}, {"x": 9_000.0}])
def test_what_is_too_large_all_the_same_is_refused_with_its_layer(sizes):
    graph = network("a = GlobalAveragePool(x)\ny = Relu(a)", "y", x=(1, 3, 9, 9))
    with pytest.raises(InputError, match=r"node .GlobalAveragePool_0.* float16 holds no more than 65,504"):
        within_float16(graph, sizes)
