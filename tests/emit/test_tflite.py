"""The TFLite emitter: files, plans, errors, real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper

from edgefer.emit.tflite import emit_tflite, unsupported
from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.errors import InputError, UnsupportedOperatorError
from edgefer.graph.contract import apply_contract
from edgefer.graph.ir import Graph
from edgefer.graph.passes import normalise
from edgefer.onnx_import import read_onnx
from edgefer.plan import Plan, QuantParams
from edgefer.runtime.delegation import operator_counts, undelegated
from edgefer.spec import Spec
from tests.emit.harness import graph_of, operators, run_onnx, run_tflite, sample
from tests.emit.minmax_plan import minmax_plan

MODELS = Path(__file__).parents[3] / "shared" / "models"
needs_models = pytest.mark.skipif(not MODELS.exists(), reason="../shared/models is not here")


@pytest.fixture
def network() -> Graph:
    """Two convolutions with an activation between, on pixels."""
    rng = np.random.default_rng(1)
    constants = {
        "scale": np.full((1, 3, 1, 1), 1 / 127, np.float32),
        "w1": rng.standard_normal((4, 3, 3, 3)).astype(np.float32) * 0.2,
        "b1": rng.standard_normal(4).astype(np.float32),
        "w2": rng.standard_normal((2, 4, 1, 1)).astype(np.float32),
    }
    return graph_of(
        [
            helper.make_node("Mul", ["image", "scale"], ["scaled"], "scale"),
            helper.make_node("Conv", ["scaled", "w1", "b1"], ["features"], "first", pads=[1, 1, 1, 1]),
            helper.make_node("Sigmoid", ["features"], ["active"], "sigmoid"),
            helper.make_node("Conv", ["active", "w2"], ["y"], "second"),
        ],
        {"image": (1, 3, 6, 6)},
        ["y"],
        constants,
    )


def test_equal_arguments_give_equal_bytes(network: Graph) -> None:
    plan = minmax_plan(network, [sample(network)])
    assert emit_tflite(network, plan) == emit_tflite(network, plan)


def test_buffers_are_aligned_and_equal_constants_stored_once(network: Graph) -> None:
    twice = network.with_constants({"w3": network.constants["w2"]})
    node = replace(network.nodes[-1], name="third", inputs=("active", "w3"), outputs=("z",))
    twice = twice.with_nodes((*twice.nodes, node), {"z": network.info["y"]})
    model = emit_tflite(replace(twice, outputs=("y", "z")), Plan())
    parsed = unpack(model)
    weights = [tensor.buffer for tensor in parsed.subgraphs[0].tensors if tensor.name in (b"w2", b"w3")]
    assert len(weights) == 2
    assert len(set(weights)) == 1
    for buffer in parsed.buffers:
        if buffer.data is not None:
            assert model.find(bytes(buffer.data)) % 16 == 0 or len(buffer.data) < 32


def test_the_signature_names_inputs_and_outputs_as_the_graph_does(network: Graph) -> None:
    interpreter = Interpreter(model_content=emit_tflite(network, Plan()))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["y"]}}
    assert interpreter.get_output_details()[0]["name"] == "y"


def test_integers_are_the_ones_that_the_plan_makes(network: Graph) -> None:
    plan = minmax_plan(network, [sample(network)])
    parsed = unpack(emit_tflite(network, plan))
    tensors = {tensor.name.decode(): tensor for tensor in parsed.subgraphs[0].tensors}
    for name in ("w1", "b1"):
        params = plan.tensors[name]
        stored = np.frombuffer(bytes(parsed.buffers[tensors[name].buffer].data), params.dtype)
        expected = params.quantize(network.constants[name])
        expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        np.testing.assert_array_equal(stored, expected.ravel())
        np.testing.assert_array_equal(tensors[name].quantization.scale, np.float32(params.scale))
        assert tensors[name].quantization.quantizedDimension == 0
    assert tensors["active"].quantization.scale[0] == np.float32(1 / 256)


def test_float_and_int8_nodes_meet_at_one_conversion_each(network: Graph) -> None:
    plan = minmax_plan(network, [sample(network)])
    plan = Plan(plan.tensors, {**plan.nodes, "sigmoid": "float"})
    model = emit_tflite(network, plan)
    expected = ["MUL", "QUANTIZE", "TRANSPOSE", "CONV_2D", "DEQUANTIZE", "LOGISTIC", "CONV_2D", "TRANSPOSE"]
    assert operators(model) == expected
    assert operator_counts(model) == {"int8": 2, "float": 6}


def test_weights_of_a_float_node_may_be_stored_as_integers(network: Graph) -> None:
    scale = tuple(float(np.float32(number)) for number in np.abs(network.constants["w1"]).max(axis=(1, 2, 3)) / 127)
    params = QuantParams("int8", scale, (0,) * 4, 0, narrow=True)
    model = emit_tflite(network, Plan({"w1": params}))
    rounded = {"w1": params.dequantize(params.quantize(network.constants["w1"]))}
    feeds = sample(network)
    expected = run_onnx(network.with_constants(rounded), feeds)["y"]
    np.testing.assert_allclose(run_tflite(model, feeds)["y"], expected, atol=1e-5)
    assert undelegated(model) == []


def test_an_input_and_output_that_the_plan_names_are_int8_in_the_file(network: Graph) -> None:
    plan = minmax_plan(network, [sample(network)], io_int8=True)
    interpreter = Interpreter(model_content=emit_tflite(network, plan))
    for detail in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        params = plan.tensors[detail["name"]]
        assert detail["dtype"] is np.int8
        assert detail["quantization"] == (np.float32(params.scale[0]), params.zero_point[0])
    assert set(operators(emit_tflite(network, plan))) == {"TRANSPOSE", "MUL", "CONV_2D", "LOGISTIC"}


def test_an_unknown_operator_is_named_with_its_node_and_the_remedy(network: Graph) -> None:
    graph = network.with_nodes([replace(node, op="Erf") if node.op == "Sigmoid" else node for node in network.nodes])
    with pytest.raises(UnsupportedOperatorError, match=r"node 'sigmoid': operator Erf") as caught:
        emit_tflite(graph, Plan())
    assert "--tflite-backend onnx2tf" in caught.value.remedy


def test_all_nodes_that_cannot_be_emitted_are_listed_at_once(network: Graph) -> None:
    nodes = list(network.nodes)
    nodes[2] = replace(nodes[2], op="Erf")
    nodes[3] = replace(nodes[3], attributes={"pads": (-1, 0, 0, 0)})
    assert [error.node for error in unsupported(network.with_nodes(nodes))] == ["sigmoid", "second"]
    assert unsupported(network) == []


def test_a_plan_that_lacks_a_scale_is_refused(network: Graph) -> None:
    with pytest.raises(InputError, match=r"'scaled'.* has no scale"):
        emit_tflite(network, Plan({}, {"first": "int8"}))


def test_a_plan_that_rescales_in_a_reshape_is_refused() -> None:
    graph = graph_of([helper.make_node("Flatten", ["x"], ["y"], "flatten")], {"x": (1, 2, 3)}, ["y"])
    tensors = {"x": QuantParams("int8", (0.1,), (0,)), "y": QuantParams("int8", (0.2,), (0,))}
    with pytest.raises(InputError, match=r"'flatten' .*share"):
        emit_tflite(graph, Plan(tensors, {"flatten": "int8"}))


def test_int8_padding_holds_real_zeros() -> None:
    weights = np.ones((1, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 0, 0])
    graph = graph_of([node], {"x": (1, 1, 4, 4)}, ["y"], {"w": weights})
    tensors = {
        "x": QuantParams("int8", (0.5,), (-100,)),
        "w": QuantParams("int8", (1.0,), (0,), narrow=True),
        "y": QuantParams("int8", (0.5,), (-100,)),
    }
    model = emit_tflite(graph, Plan(tensors, {"conv": "int8"}))
    assert "PAD" in operators(model)
    ones = np.full((1, 1, 4, 4), -98, np.int8)
    found = tensors["y"].dequantize(run_tflite(model, {"x": ones})["y"])
    np.testing.assert_array_equal(found[0, 0], [[4, 6, 6], [6, 9, 9], [6, 9, 9]])


@needs_models
def test_the_bundled_network_is_taken_over_whole_and_equals_onnx_runtime() -> None:
    spec = Spec.from_toml(MODELS / "fer_b0.spec.toml")
    graph = normalise(apply_contract(normalise(read_onnx(MODELS / "fer_b0.onnx", (1, 3, 64, 64)).graph), spec))
    rng = np.random.default_rng(0)
    pixels = [{"image": rng.integers(0, 256, (1, 64, 64, 3), np.uint8)} for _ in range(2)]
    model = emit_tflite(graph, Plan())
    assert undelegated(model) == []
    expected = run_onnx(graph, pixels[0])["expression"]
    np.testing.assert_allclose(run_tflite(model, pixels[0])["expression"], expected, atol=1e-4)

    model = emit_tflite(graph, minmax_plan(graph, pixels))
    assert undelegated(model) == []
    assert len(model) < 5_000_000
    assert "TRANSPOSE" not in operators(model)
    assert operator_counts(model)["float"] <= 4


@needs_models
def test_a_face_detector_equals_onnx_runtime() -> None:
    graph = normalise(read_onnx(MODELS / "face_detection_yunet_2023mar.onnx").graph)
    feeds = {graph.inputs[0]: np.random.default_rng(0).random(graph.shape(graph.inputs[0]), np.float32) * 255}
    found = run_tflite(emit_tflite(graph, Plan()), feeds)
    for name, expected in run_onnx(graph, feeds).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(expected).max())


def test_versions_are_the_oldest_that_suffice(network: Graph) -> None:
    def versions(model: bytes) -> dict[str, int]:
        names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        return {names[code.builtinCode]: code.version for code in unpack(model).operatorCodes}

    assert set(versions(emit_tflite(network, Plan())).values()) == {1}
    int8 = versions(emit_tflite(network, minmax_plan(network, [sample(network)])))
    assert (int8["CONV_2D"], int8["LOGISTIC"], int8["QUANTIZE"]) == (3, 2, 1)
