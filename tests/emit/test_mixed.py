"""Mixed precision in both files: float nodes with int8-stored weights, and int8 nodes with int4-stored ones."""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper

from edgefer.bundle import Bundle
from edgefer.emit.nibbles import INT4_PAIRS, packed_int4
from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import describe, emit_tflite
from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.evaluation.rebuild import rebuild
from edgefer.graph.passes import normalise
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int4 import can_be_int4, with_int4
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.solve.ways import with_stored_weights
from edgefer.runtime.delegation import undelegated
from edgefer.runtime.runners import onnx_session
from edgefer.spec import METADATA_KEY
from tests.emit.harness import operators, run_onnx, run_tflite, sample
from tests.evaluation.conftest import tiny  # noqa: F401 - a fixture
from tests.graph.networks import network, numbers

CONSTANTS = {
    "dense": numbers(8, 3, 3, 3),
    "dense_bias": numbers(8),
    "deep": numbers(8, 1, 3, 3),
    "point": numbers(10, 8, 1, 1),
    "point_bias": numbers(10),
    "matrix": numbers(6, 10),
    "matrix_bias": numbers(6),
}
GRAPH = normalise(
    network(
        """n = Neg(x)
           a = Conv<pads=[1, 1, 1, 1]>(n, dense, dense_bias)
           s = Sigmoid(a)
           m = Mul(a, s)
           d = Conv<group=8, pads=[1, 1, 1, 1]>(m, deep)
           p = Conv(d, point, point_bias)
           g = GlobalAveragePool(p)
           f = Flatten(g)
           l = Gemm<transB=1>(f, matrix, matrix_bias)
           y = Neg(l)""",
        "y",
        CONSTANTS,
    )
)
WEIGHTS = ("dense", "deep", "point", "matrix")
FEEDS = sample(GRAPH, 9)


def planned(keep_float=frozenset()):
    tensors = tensors_to_observe(GRAPH, keep_float)
    plan = plan_int8(GRAPH, collect(GRAPH, tensors, [sample(GRAPH, seed) for seed in range(4)]), keep_float)
    return with_stored_weights(GRAPH, plan, keep_float)


def as_stored(plan):
    """The network whose weights are what the Plan stores."""
    params = {name: plan.tensors[name] for name in WEIGHTS}
    return GRAPH.with_constants({n: p.dequantize(p.quantize(GRAPH.constants[n])) for n, p in params.items()})


def optimised(model, tmp_path):
    """The nodes that ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]


def in_four_bits(plan):
    return with_int4(GRAPH, plan, [node for node in GRAPH.nodes if can_be_int4(GRAPH, plan, node)])


EVERYTHING = frozenset(node.name for node in GRAPH.nodes[1:-1])
FIRST = frozenset(node.name for node in GRAPH.nodes[1:4])


def test_float_nodes_compute_with_the_stored_weights_in_both_files():
    plan = planned(EVERYTHING)
    expected = run_onnx(as_stored(plan), FEEDS)["y"]
    np.testing.assert_allclose(run_onnx_model(emit_onnx(GRAPH, plan)), expected, atol=1e-5)
    np.testing.assert_allclose(run_tflite(emit_tflite(GRAPH, plan), FEEDS)["y"], expected, atol=1e-5)
    assert np.abs(run_onnx(GRAPH, FEEDS)["y"] - expected).max() > 1e-4


def run_onnx_model(model):
    return onnx_session(model).run(None, FEEDS)[0]


@pytest.mark.parametrize("floats", [frozenset(), FIRST, EVERYTHING - FIRST, EVERYTHING])
def test_both_files_agree_and_fast_kernels_run_every_node(floats, tmp_path):
    plan = planned(floats)
    model = emit_tflite(GRAPH, plan)
    step = plan.tensors["l"].scale[0] if "l" in plan.tensors else 0
    expected = run_onnx_model(emit_onnx(GRAPH, plan))
    np.testing.assert_allclose(run_tflite(model, FEEDS)["y"], expected, atol=1.01 * step + 1e-5)
    assert undelegated(model) == []
    names = optimised(emit_onnx(GRAPH, plan), tmp_path)
    assert not {"Cast", "Gather", "Reshape"} & set(names)
    assert not {"Gemm", "Conv"} & set(names) or floats
    assert names.count("DequantizeLinear") <= 1


def test_weights_are_stored_as_integers_only_once_in_both_files():
    plan = planned(EVERYTHING)
    held = {t.name: numpy_helper.to_array(t) for t in emit_onnx(GRAPH, plan).graph.initializer}
    parsed = unpack(emit_tflite(GRAPH, plan))
    kinds = {tensor.name.decode(): tensor.type for tensor in parsed.subgraphs[0].tensors}
    for name in WEIGHTS:
        np.testing.assert_array_equal(held[f"{name}/stored"], plan.tensors[name].quantize(GRAPH.constants[name]))
        assert name not in held
        assert kinds[name] == schema.TensorType.INT8


def test_a_float_transposed_convolution_computes_with_the_stored_weights_too():
    graph = network("y = ConvTranspose(x, w)", "y", {"w": numbers(3, 4, 2, 2)})
    plan = with_stored_weights(graph, Plan(), frozenset(graph.named))
    stored = plan.tensors["w"].dequantize(plan.tensors["w"].quantize(graph.constants["w"]))
    expected = run_onnx(graph.with_constants({"w": stored}), FEEDS)["y"]
    np.testing.assert_allclose(run_onnx_model(emit_onnx(graph, plan)), expected, atol=1e-5)
    np.testing.assert_allclose(run_tflite(emit_tflite(graph, plan), FEEDS)["y"], expected, atol=1e-5)


def test_what_lies_between_two_float_nodes_is_not_stored():
    assert {"a", "s"}.isdisjoint(planned(FIRST).tensors)
    assert "m" in planned(EVERYTHING - FIRST).tensors


def test_a_constant_that_an_int8_node_and_a_float_node_read_is_stored_once():
    graph = network("a = Conv(x, w)\nb = Conv(x, w)\ny = Add(a, b)", "y", {"w": numbers(4, 3, 3, 3)})
    histograms = collect(graph, tensors_to_observe(graph), [sample(graph)])
    plan = plan_int8(graph, histograms, frozenset(["Conv_1"]))
    initializers = [tensor.name for tensor in emit_onnx(graph, plan).graph.initializer]
    assert initializers.count("w/stored") == 1 and "w" not in initializers


def test_int4_weights_give_in_both_files_what_the_same_integers_give_in_int8():
    plan = in_four_bits(planned())
    assert {name for name, params in plan.tensors.items() if params.dtype == "int4"} == {"point", "matrix"}
    widened = Plan({n: as_int8(p) for n, p in plan.tensors.items()}, plan.nodes)
    graph = as_stored(plan)
    model = emit_tflite(graph, plan)
    np.testing.assert_array_equal(run_tflite(model, FEEDS)["y"], run_tflite(emit_tflite(graph, widened), FEEDS)["y"])
    np.testing.assert_array_equal(run_onnx_model(emit_onnx(graph, plan)), run_onnx_model(emit_onnx(graph, widened)))


def as_int8(params):
    return QuantParams("int8", params.scale, params.zero_point, params.axis, True) if params.dtype == "int4" else params


def test_int4_weights_take_half_the_bytes_and_run_as_fast_products(tmp_path):
    plan, packed = planned(), in_four_bits(planned())
    model = emit_tflite(GRAPH, packed)
    assert operators(model).count("FULLY_CONNECTED") == 2
    assert undelegated(model) == []
    names = optimised(emit_onnx(GRAPH, packed), tmp_path)
    assert sorted(names) == sorted(optimised(emit_onnx(GRAPH, plan), tmp_path))
    held = {t.name: numpy_helper.to_array(t) for t in emit_onnx(GRAPH, packed).graph.initializer}
    assert held["point/packed"].nbytes == CONSTANTS["point"].size // 2
    parsed = unpack(model)
    (weights,) = (tensor for tensor in parsed.subgraphs[0].tensors if tensor.name == b"point")
    assert len(parsed.buffers[weights.buffer].data) == CONSTANTS["point"].size // 2


@given(arrays(np.int8, st.integers(1, 40).map(lambda half: 2 * half), elements=st.integers(-8, 7)))
def test_packing_loses_nothing(integers):
    np.testing.assert_array_equal(INT4_PAIRS[packed_int4(integers)].reshape(-1), integers)


def test_channels_share_their_zero_points_in_a_tflite_file():
    sizes = []
    for channels in (512, 1024):
        graph = network("y = Conv(x, w, b)", "y", {"w": numbers(channels, 3, 1, 1), "b": numbers(channels)})
        histograms = collect(graph, tensors_to_observe(graph), [sample(graph)])
        sizes.append(len(emit_tflite(graph, plan_int8(graph, histograms))))
    weights, bias, scales, zero_points = 3, 4, 2 * 4, 8
    assert sizes[1] - sizes[0] <= 512 * (weights + bias + scales + zero_points) + 64


@pytest.mark.parametrize("change", ["float", "int4"])
def test_a_bundle_of_mixed_precision_is_rebuilt_to_the_byte(tiny, tmp_path, change):  # noqa: F811 - the fixture
    rebuilt = rebuild(tiny)
    graph, plan = rebuilt.graph, rebuilt.plan
    if change == "int4":
        nodes = [node for node in graph.nodes if can_be_int4(graph, plan, node)]
        assert nodes
        plan = with_int4(graph, plan, nodes)
    else:
        node = next(node for node in graph.nodes if node.op == "Conv" and plan.is_int8(node.name))
        others = {name: compute for name, compute in plan.nodes.items() if name != node.name}
        kept = {name: params for name, params in plan.tensors.items() if name != node.input(2)}
        plan = Plan(kept, {**others, node.name: "float"})
    shutil.copytree(tiny.path, tmp_path / "other")
    bundle = Bundle.open(tmp_path / "other", verify=False)
    (bundle.path / "plan.json").write_text(plan.to_json())
    model = onnx.load(tiny.artifact("onnx"))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert METADATA_KEY in metadata
    bundle.artifact("onnx").write_bytes(emit_onnx(graph, plan, metadata).SerializeToString(deterministic=True))
    bundle.artifact("tflite").write_bytes(describe(emit_tflite(graph, plan), bundle.spec, bundle.name))
    assert rebuild(Bundle.open(bundle.path, verify=False)).exact == {"onnx": True, "tflite": True}
