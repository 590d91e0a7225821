from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from onnx import numpy_helper

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.graph.ir import Node
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from tests.emit.harness import run_as_shipped, run_model, run_tflite, sample
from tests.emit.random_networks import networks
from tests.graph.networks import network, numbers

CONSTANTS = {
    "w": numbers(4, 3, 3, 3),
    "b": numbers(4),
    "t": numbers(3, 4, 2, 2),
    "d": numbers(75, 4),
    "e": numbers(4),
    "g": numbers(4, 5),
    "m": numbers(5, 2),
    "slope": np.abs(numbers(3, 1, 1)),
    "c": numbers(1, 3, 1, 1),
    "low": np.float32(-0.5),
    "high": np.float32(0.5),
    "shape": np.array([1, -1]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "sizes": np.array([1, 3, 7, 7]),
    "one": np.array([1]),
    "two": np.array([2]),
    "parts": np.array([1, 2]),
}


def planned(graph, keep_float=frozenset()):
    tensors = tensors_to_observe(graph, keep_float)
    images = [sample(graph, seed) for seed in range(4)]
    return plan_int8(graph, collect(graph, tensors, images), keep_float)


def simulated(graph, plan, feeds):
    """What the Plan means, in float: node by node, each computing with the numbers that are stored."""
    exact, stored = dict(feeds), {}

    def note(value, array):
        exact[value] = array
        if value in plan.tensors:
            params = plan.tensors[value]
            stored[value] = params.dequantize(params.quantize(array)).astype(np.float32)

    for value, array in {**feeds, **graph.constants}.items():
        note(value, array)
    makers = {value: node for node in graph.nodes for value in node.outputs}
    for node in graph.nodes:
        is_int8 = plan.is_int8(node.name)
        inputs = {
            v: stored[v] if v in stored and (is_int8 or v not in makers or plan.is_int8(makers[v].name)) else exact[v]
            for v in node.inputs
            if v
        }
        single = replace(graph, nodes=(node,), inputs=(), outputs=node.outputs, constants=inputs)
        for value, array in run_model(to_onnx(single), {}).items():
            note(value, array)
    return {
        value: stored.get(value, exact[value]) if plan.is_int8(makers[value].name) else exact[value]
        for value in graph.outputs
    }


def assert_within_one_step(graph, plan, feeds):
    found, expected = run_model(emit_onnx(graph, plan), feeds), simulated(graph, plan, feeds)
    for value in graph.outputs:
        step = plan.tensors[value].scale[0] if value in plan.tensors else 0
        np.testing.assert_allclose(found[value], expected[value], atol=step * 1.01 + 1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "op",
    [
        "Conv(x, w, b)",
        "Conv<strides=[2, 2], pads=[0, 0, 1, 1]>(x, w)",
        "ConvTranspose(x, t)",
        "GlobalAveragePool(x)",
        "Add(x, x)",
        "Add(x, c)",
        "Sub(c, x)",
        "Mul(x, c)",
        "Mul(x, x)",
        "MatMul(x, m)",
        "Sigmoid(x)",
        "Tanh(x)",
        "AveragePool<kernel_shape=[2, 2]>(x)",
        "Clip(x, low, high)",
        "Concat<axis=1>(x, x)",
        "Flatten(x)",
        "MaxPool<kernel_shape=[2, 2]>(x)",
        "Pad(x, pads)",
        "Relu(x)",
        "Reshape(x, shape)",
        'Resize<mode="linear">(x, , , sizes)',
        "Slice(x, one, two, one)",
        "Squeeze(u)",
        "Transpose<perm=[0, 2, 3, 1]>(x)",
        "Unsqueeze(x, one)",
    ],
)
def test_every_integer_operator_is_within_one_step_of_its_simulation(op):
    squeezes = op.startswith("Squeeze")
    text = f"u = Unsqueeze(x, one)\ny = {op}" if squeezes else f"y = {op}"
    graph = network(text, "y", CONSTANTS)
    plan = planned(graph)
    assert set(plan.nodes) == set(graph.named)
    assert_within_one_step(graph, plan, sample(graph, 9))


@pytest.mark.parametrize("gemm", ["Gemm(f, d)", "Gemm(f, d, e)"])
def test_a_gemm_is_within_one_step_of_its_simulation(gemm):
    graph = network(f"f = Flatten(x)\ny = {gemm}", "y", CONSTANTS)
    assert_within_one_step(graph, planned(graph), sample(graph, 9))


def test_a_split_stores_all_its_outputs():
    graph = network("a, y = Split<axis=1>(x, parts)\nz = Neg(a)", "y z", CONSTANTS)
    plan = planned(graph)
    assert plan.tensors["a"] == plan.tensors["y"] == plan.tensors["x"]
    assert_within_one_step(graph, plan, sample(graph, 9))


def test_a_fused_relu_is_stored_behind_the_clipping():
    graph = normalise(network("a = Conv(x, w, b)\ny = Relu(a)", "y", CONSTANTS))
    plan = planned(graph)
    assert plan.tensors["y"].zero_point == (-128,)
    assert_within_one_step(graph, plan, sample(graph, 9))


def test_outputs_that_int8_nodes_read_too_are_returned_as_stored():
    graph = network("a = Conv(x, w, b)\ny = Relu(a)", "a y", CONSTANTS)
    plan = planned(graph)
    assert_within_one_step(graph, plan, sample(graph, 9))


def test_float_nodes_among_int8_ones_read_what_is_exact_where_they_can():
    graph = network("a = Conv(x, w, b)\ne1 = Exp(a)\nl = Log(e1)\ny = Sigmoid(l)\nz = Neg(l)", "y z", CONSTANTS)
    plan = planned(graph)
    assert set(plan.nodes) == {"Conv_0", "Sigmoid_3"}
    assert_within_one_step(graph, plan, sample(graph, 9))


def test_float_nodes_read_a_mean_of_windows_before_it_is_stored_in_both_files():
    text = "a = Conv<pads=[1, 1, 1, 1]>(x, w, b)\nm = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(a)\ny = Exp(m)"
    graph = network(text, "y", {"w": CONSTANTS["w"], "b": CONSTANTS["b"]}, (1, 3, 6, 6))
    plan, feeds = planned(graph), sample(graph, 9)
    plan = Plan({**plan.tensors, "m": QuantParams("int8", (0.1,), (0,))}, {**plan.nodes, "AveragePool_1": "int8"})
    stored = {name: plan.tensors[name].quantize(array) for name, array in feeds.items()}
    tflite, onnx_file = (
        run_tflite(emit_tflite(graph, plan), stored)["y"],
        run_as_shipped(emit_onnx(graph, plan), feeds)["y"],
    )
    np.testing.assert_allclose(tflite, onnx_file, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(networks(max_operators=4))
def test_the_first_int8_layer_of_any_network_agrees_with_its_simulation(graph):
    graph = normalise(graph)
    plan = planned(graph)
    first = next((node for node in graph.nodes if plan.is_int8(node.name)), None)
    if first is None:
        return
    single = replace(graph, nodes=graph.nodes[: graph.nodes.index(first) + 1], outputs=first.outputs)
    tensors = {v: plan.tensors[v] for v in (*first.inputs, *first.outputs) if v in plan.tensors}
    assert_within_one_step(single, Plan(tensors, {first.name: "int8"}), sample(graph, 9))


def test_the_integers_in_the_file_are_the_plans():
    graph = network("y = Conv(x, w, b)", "y", CONSTANTS)
    plan = planned(graph)
    held = {t.name: numpy_helper.to_array(t) for t in emit_onnx(graph, plan).graph.initializer}
    np.testing.assert_array_equal(held["w/stored"], plan.tensors["w"].quantize(CONSTANTS["w"]))
    np.testing.assert_array_equal(held["b/stored"], plan.tensors["b"].quantize(CONSTANTS["b"]))
    assert held["w/stored"].dtype == np.int8 and held["b/stored"].dtype == np.int32
    assert "w" not in held and "b" not in held
    assert held["x/zero_point"].dtype == np.uint8
    assert int(held["x/zero_point"]) == plan.tensors["x"].zero_point[0] + 128
    assert float(held["y/scale"]) == plan.tensors["y"].scale[0]


@pytest.mark.parametrize("op", ["Mul(x, c)", "Add(x, c)", "Sub(c, x)"])
def test_a_constant_for_each_channel_is_stored_as_such_but_never_broadcast(op):
    graph = network(f"y = {op}", "y", CONSTANTS)
    model = emit_onnx(graph, planned(graph))
    (expand,) = (node for node in model.graph.node if node.op_type == "Expand")
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert held[expand.input[0]].size == CONSTANTS["c"].size
    assert tuple(held[expand.input[1]]) == graph.shape("y")
    reader = next(node for node in model.graph.node if node.input[0] == expand.output[0])
    assert reader.op_type == "DequantizeLinear"


def test_onnx_runtime_keeps_maps_channels_last_until_they_are_flattened(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    graph = network("a = Conv(x, w, b)\np = GlobalAveragePool(a)\nf = Flatten(p)\ny = Gemm(f, g)", "y", CONSTANTS)
    onnxruntime.InferenceSession(emit_onnx(graph, planned(graph)).SerializeToString(), options)
    operators = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert {"QLinearConv", "QLinearGlobalAveragePool", "QGemm"} < set(operators)
    assert operators.count("Transpose") == 1  # of x


def test_two_that_flatten_one_map_read_the_same_turned_one():
    text = """conv = Conv(x, w, b)
              pool = GlobalAveragePool(conv)
              flat = Flatten(pool)
              again = Flatten(pool)
              y = Gemm(flat, g)
              z = Gemm(again, g)"""
    graph = network(text, "y z", CONSTANTS)
    assert_within_one_step(graph, planned(graph), sample(graph, 9))


def test_names_that_the_network_has_taken_are_not_given_again():
    constants = {"x/scale": numbers(1, 3, 1, 1), "x/stored": numbers(1, 3, 1, 1), "x/zero_point": numbers(1, 3, 1, 1)}
    nodes = [
        Node("n", "Mul", ("x", "x/scale"), ("a",)),
        Node("o", "Add", ("a", "x/stored"), ("x/dequantized",)),
        Node("p", "Mul", ("x/dequantized", "x/zero_point"), ("y",)),
    ]
    base = network("a = Neg(x)\nb = Neg(a)\ny = Neg(b)", "y", constants)
    info = {**base.info, "x/dequantized": base.info["b"]}
    graph = base.with_constants(constants).with_nodes(nodes, info)
    assert_within_one_step(graph, planned(graph), sample(graph, 9))


def test_an_empty_plan_gives_the_float_network():
    graph = network("a = Conv(x, w, b)\ny = Relu(a)", "y", CONSTANTS)
    assert emit_onnx(graph, Plan()).SerializeToString() == to_onnx(graph).SerializeToString()


def test_equal_plans_give_equal_bytes_and_metadata_is_kept():
    graph = network("a = Conv(x, w, b)\ny = Sigmoid(a)", "y", CONSTANTS)
    plan = planned(graph)
    first, second = (
        emit_onnx(g, p, {"key": "value"}).SerializeToString(deterministic=True)
        for g, p in (
            (graph, plan),
            (network("a = Conv(x, w, b)\ny = Sigmoid(a)", "y", CONSTANTS), Plan.from_json(plan.to_json())),
        )
    )
    assert first == second
    assert b"key" in first


def test_a_scale_for_each_row_of_a_constant_is_kept():
    graph = network("y = MatMul(x, m)", "y", CONSTANTS)
    assert planned(graph).tensors["m"] == QuantParams(
        "int8",
        tuple(float(s) for s in (np.abs(CONSTANTS["m"]).max(axis=0).astype(np.float64) / 127).astype(np.float32)),
        (0, 0),
        axis=1,
        narrow=True,
    )


@pytest.mark.parametrize("layer", ["MatMul(x, w)", "Conv(p, c)"])
@pytest.mark.parametrize("columns", [17, 24, 31, 58, 63])
def test_fused_products_of_any_number_of_columns_are_right(layer, columns):
    """ONNX Runtime 1.21 to 1.24 fail."""
    text = f"p = Reshape(x, s)\ny = {layer}" if "p" in layer else f"y = {layer}"
    weights = numbers(24, columns)
    constants = {"w": weights, "c": weights.T.reshape(columns, 24, 1, 1), "s": np.array([1, 24, 8, 8])}
    graph = network(text, "y", {key: constants[key] for key in constants if key in text}, (1, 64, 24))
    feeds = sample(graph)
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [feeds]))
    model = emit_onnx(graph, plan)
    step = plan.tensors["y"].scale[0]
    np.testing.assert_allclose(run_as_shipped(model, feeds)["y"], run_model(model, feeds)["y"], atol=1.01 * step)
