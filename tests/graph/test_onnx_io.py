import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.parser import parse_node

from edgefer.errors import InputError
from edgefer.graph.onnx_io import from_onnx, read_onnx, to_onnx
from edgefer.graph.passes import normalise
from tests.emit.harness import run_model, sample
from tests.graph.networks import assert_same_outputs, network, numbers, operators

FLOAT = TensorProto.FLOAT


def model(text, constants=None, x=(1, 3, 8, 8), *, opset=18, dtype=FLOAT, y=None):
    """The model of nodes, one in a line, from `x` to `y`."""
    graph = helper.make_graph(
        [parse_node(line) for line in text.strip().splitlines()],
        "text",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info("y", dtype, y)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", range(9, 23))
def test_networks_of_all_usual_opsets_compute_what_they_did(opset):
    mean = "ReduceMean<axes=[2, 3], keepdims=0>(b)" if opset < 18 else "ReduceMean<keepdims=0>(b, axes)"
    pad = "Pad<pads=[0, 0, 1, 1, 0, 0, 1, 1]>(x)" if opset < 11 else "Pad(x, pads)"
    clip = "Clip<min=0.0, max=6.0>(n)" if opset < 11 else "Clip(n, low, high)"
    squeeze = "Unsqueeze<axes=[1]>(m)" if opset < 13 else "Unsqueeze(m, one)"
    text = f"p = {pad}\na = Conv(p, w)\nn = BatchNormalization(a, s, t, t, s)\nb = {clip}\nm = {mean}\ny = {squeeze}"
    constants = {
        "w": numbers(4, 3, 3, 3),
        "s": np.full(4, 0.5, np.float32),
        "t": numbers(4),
        "axes": np.array([2, 3]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "low": np.float32(0),
        "high": np.float32(6),
        "one": np.array([1]),
    }
    exported = model(text, {key: value for key, value in constants.items() if key in text}, opset=opset)
    graph = normalise(from_onnx(exported))
    assert operators(graph) == ["Conv+Relu6", "GlobalAveragePool", "Flatten", "Unsqueeze"]
    feeds = sample(graph)
    np.testing.assert_allclose(run_model(to_onnx(graph), feeds)["y"], run_model(exported, feeds)["y"], 1e-4, 1e-5)


@pytest.mark.parametrize("batch", ["N", None, 7])
def test_any_batch_becomes_one(batch):
    graph = from_onnx(model("y = Relu(x)", x=(batch, 3, 8, 8), y=(batch, 3, 8, 8)))
    assert graph.shape("x") == graph.shape("y") == (1, 3, 8, 8)


def test_an_open_image_size_is_closed_by_the_input_shape():
    open_size = model("a = Conv(x, w)\ny = Relu(a)", {"w": numbers(2, 3, 3, 3)}, x=("N", 3, "H", "W"))
    graph = from_onnx(open_size, input_shape=(1, 3, 9, 7))
    assert graph.shape("y") == (1, 2, 7, 5)


def test_a_size_that_the_file_fixes_wins_over_the_input_shape():
    assert from_onnx(model("y = Relu(x)"), input_shape=(1, 3, 9, 7)).shape("x") == (1, 3, 8, 8)


@pytest.mark.parametrize("input_shape", [None, (1, 3), (1, 3, 0, 8)])
def test_an_open_image_size_is_an_error_that_names_the_dimension(input_shape):
    with pytest.raises(InputError, match=r"input 'x': dimension 2 \(H\) has no fixed size") as raised:
        from_onnx(model("y = Relu(x)", x=("N", 3, "H", 8)), input_shape=input_shape)
    assert "input.size" in raised.value.remedy


def test_an_input_without_a_shape_is_an_error():
    with pytest.raises(InputError, match="input 'x' has no shape"):
        from_onnx(model("y = Relu(x)", x=None))


def test_weights_that_are_listed_as_inputs_are_no_inputs():
    listed = model("y = Conv(x, w)", {"w": numbers(2, 3, 3, 3)})
    listed.graph.input.append(helper.make_tensor_value_info("w", FLOAT, (2, 3, 3, 3)))
    graph = from_onnx(listed)
    assert graph.inputs == ("x",)
    assert list(graph.constants) == ["w"]


def test_weights_in_a_file_of_their_own_are_read(tmp_path):
    weights = numbers(2, 3, 3, 3)
    path = tmp_path / "net.onnx"
    onnx.save(model("y = Conv(x, w)", {"w": weights}), path, save_as_external_data=True, size_threshold=0)
    assert path.stat().st_size < weights.nbytes + 300
    np.testing.assert_array_equal(read_onnx(path).constants["w"], weights)


def test_a_missing_weights_file_is_named(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(
        model("y = Conv(x, w)", {"w": numbers(2, 3, 3, 3)}),
        path,
        save_as_external_data=True,
        size_threshold=0,
        location="net.weights",
    )
    (tmp_path / "net.weights").unlink()
    with pytest.raises(InputError, match=r"net\.onnx: .*net\.weights"):
        read_onnx(path)


@pytest.mark.parametrize(
    "constant", ["value_float=2.0", "value_floats=[2.0]", "value=float {2.0}", "value=float[1] {2.0}"]
)
def test_constants_are_read_however_they_are_spelled(constant):
    graph = from_onnx(model(f"c = Constant<{constant}>()\ny = Mul(x, c)"))
    assert operators(graph) == ["Mul"]
    assert graph.constants["c"].dtype == np.float32
    assert float(graph.constants["c"].reshape(())) == 2.0


def test_a_constant_that_is_a_text_is_an_error():
    with pytest.raises(InputError, match="constant 'c'"):
        from_onnx(model('c = Constant<value_string="a">()\ny = Relu(x)'))


def with_control_flow():
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "branch", [], [
        helper.make_tensor_value_info("z", FLOAT, (1, 3, 8, 8))])  # fmt: skip
    flow = model("y = Relu(x)", {"c": np.array(True)})
    flow.graph.node[0].CopyFrom(helper.make_node("If", ["c"], ["y"], "choose", then_branch=inner, else_branch=inner))
    return flow


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_control_flow_is_refused(opset):
    flow = with_control_flow()
    flow.opset_import[0].version = opset
    with pytest.raises(InputError, match=r"node 'choose': If holds a subgraph \(control flow\)"):
        from_onnx(flow)


def test_operators_of_other_domains_are_refused():
    custom = model("y = com.microsoft.Gelu(x)")
    custom.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(InputError, match=r"operator com\.microsoft\.Gelu is not an ONNX operator"):
        from_onnx(custom)


@pytest.mark.parametrize(
    "text",
    [
        "q = QuantizeLinear(x, s, z)\ny = DequantizeLinear(q, s, z)",
        "y, s1, z1 = DynamicQuantizeLinear(x)",
        "y = com.microsoft.QLinearSigmoid(x, s, z, s, z)",
    ],
)
def test_a_network_that_is_quantized_already_is_refused(text):
    quantized = model(text, {"s": np.float32(0.1), "z": np.uint8(3)})
    with pytest.raises(InputError, match="quantized already") as raised:
        from_onnx(quantized)
    assert raised.value.remedy == "Bring the float network."


def test_a_network_in_half_precision_is_refused():
    half = model("y = Conv(x, w)", {"w": numbers(2, 3, 3, 3).astype(np.float16)}, dtype=TensorProto.FLOAT16)
    with pytest.raises(InputError, match=r"\(Conv\) computes in float16") as raised:
        from_onnx(half)
    assert "float32" in raised.value.remedy


def test_weights_that_are_only_stored_in_half_precision_are_fine():
    weights = numbers(2, 3, 3, 3).astype(np.float16)
    graph = normalise(from_onnx(model("w = Cast<to=1>(h)\ny = Conv(x, w)", {"h": weights})))
    assert operators(graph) == ["Conv"]
    np.testing.assert_array_equal(graph.constants["w"], weights.astype(np.float32))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(number):
    weights = numbers(2, 3, 3, 3)
    weights[1, 2, 0, 0] = number
    with pytest.raises(InputError, match="constant 'w' holds values that are not finite"):
        from_onnx(model("y = Conv(x, w)", {"w": weights}))


def test_an_infinite_bound_is_fine():
    graph = from_onnx(model("y = Clip(x, low, high)", {"low": np.float32(0), "high": np.float32(np.inf)}))
    assert operators(graph) == ["Clip"]


@pytest.mark.parametrize("names", [["n", "n", "n"], ["", "Relu_0", "Relu_0"], ["n", "n_1", "n"]])
def test_every_node_gets_a_name_of_its_own(names):
    named = model("a = Relu(x)\nb = Neg(a)\ny = Relu(b)")
    for node, name in zip(named.graph.node, names, strict=True):
        node.name = name
    graph = from_onnx(named)
    assert len(graph.named) == 3
    assert_same_outputs(graph, normalise(graph))


def test_an_input_that_nothing_makes_is_named():
    with pytest.raises(InputError, match="nothing makes its input 'nowhere'"):
        from_onnx(model("y = Add(x, nowhere)"))


def test_shapes_that_do_not_fit_together_are_an_error():
    with pytest.raises(InputError, match="shapes do not fit together"):
        from_onnx(model("y = MatMul(x, w)", {"w": numbers(7, 3)}))


def test_a_shape_known_only_at_run_time_is_an_error_that_names_the_node():
    with pytest.raises(InputError, match=r"'NonZero_0' \(NonZero\): the shape of its output"):
        from_onnx(model("i = NonZero(x)\ny = Cast<to=1>(i)"))


def test_an_operator_that_no_older_opset_has_is_refused():
    with pytest.raises(InputError, match="opset 20 cannot be brought to opset 18"):
        from_onnx(model("y = Gelu(x)", opset=20))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a network at all\n" * 9, b"\x08\x08"])
def test_a_file_that_is_no_network_is_named(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"net\.onnx: not (a readable ONNX file|an ONNX network)"):
        read_onnx(path)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.onnx: not a readable ONNX file"):
        read_onnx(tmp_path / "absent.onnx")


WHOLE = model("a = Conv(x, w)\ny = Relu(a)", {"w": numbers(4, 3, 3, 3)}).SerializeToString()


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_an_input_error(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "net.onnx"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(InputError, match=r"net\.onnx: "):
        read_onnx(path)


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_an_altered_file_is_read_or_refused_but_never_crashes(tmp_path_factory, position, change):
    path = tmp_path_factory.mktemp("altered") / "net.onnx"
    path.write_bytes(WHOLE[:position] + bytes([WHOLE[position] ^ change]) + WHOLE[position + 1 :])
    try:
        graph = read_onnx(path)
    except InputError as error:
        assert str(path) in error.message
    else:
        assert graph.outputs


def test_writing_and_reading_again_gives_the_same_network():
    graph = normalise(network("a = Conv(x, w)\nb = Clip(a, l, h)\ny = Relu(b)", "y", {
        "w": numbers(4, 3, 3, 3), "l": np.float32(0), "h": np.float32(6)}))  # fmt: skip
    again = normalise(from_onnx(to_onnx(graph)))
    assert operators(again) == operators(graph)
    assert_same_outputs(graph, again)


def test_metadata_and_equal_bytes():
    graph = network("y = Relu(x)", "y")
    first, second = (to_onnx(graph, metadata=order) for order in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}))
    assert {entry.key: entry.value for entry in first.metadata_props} == {"a": "1", "b": "2"}
    assert first.SerializeToString() == second.SerializeToString()


def test_a_name_that_is_no_text_is_an_input_error(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE.replace(b"Conv", b"C\xffnv"))
    with pytest.raises(InputError, match="a name in it is not UTF-8"):
        read_onnx(path)
