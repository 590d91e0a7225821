import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgefer.errors import InputError
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.onnx_import import import_onnx, read_onnx
from tests.emit.harness import run_model, sample
from tests.graph.networks import assert_same_outputs, numbers, operators
from tests.onnx_import.models import FLOAT, imported, model


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
    graph = normalise(imported(exported))
    assert operators(graph) == ["Conv+Relu6", "GlobalAveragePool", "Flatten", "Unsqueeze"]
    feeds = sample(graph)
    np.testing.assert_allclose(run_model(to_onnx(graph), feeds)["y"], run_model(exported, feeds)["y"], 1e-4, 1e-5)


@pytest.mark.parametrize("batch", ["N", None, 7])
def test_any_batch_becomes_one(batch):
    graph = imported(model("y = Relu(x)", x=(batch, 3, 8, 8), y=(batch, 3, 8, 8)))
    assert graph.shape("x") == graph.shape("y") == (1, 3, 8, 8)


def test_an_open_image_size_is_closed_by_the_input_shape():
    open_size = model("a = Conv(x, w)\ny = Relu(a)", {"w": numbers(2, 3, 3, 3)}, x=("N", 3, "H", "W"))
    graph = imported(open_size, input_shape=(1, 3, 9, 7))
    assert graph.shape("y") == (1, 2, 7, 5)


def test_a_size_that_the_file_fixes_wins_over_the_input_shape():
    assert imported(model("y = Relu(x)"), input_shape=(1, 3, 9, 7)).shape("x") == (1, 3, 8, 8)


@pytest.mark.parametrize("input_shape", [None, (1, 3), (1, 3, 0, 8)])
def test_an_open_image_size_is_an_error_that_names_the_dimension(input_shape):
    with pytest.raises(InputError, match=r"input 'x': dimension 2 \(H\) has no fixed size") as raised:
        imported(model("y = Relu(x)", x=("N", 3, "H", 8)), input_shape=input_shape)
    assert "input.size" in raised.value.remedy


def test_an_input_without_a_shape_is_an_error():
    with pytest.raises(InputError, match="input 'x' has no shape"):
        imported(model("y = Relu(x)", x=None))


def test_weights_that_are_listed_as_inputs_are_no_inputs():
    listed = model("y = Conv(x, w)", {"w": numbers(2, 3, 3, 3)})
    listed.graph.input.append(helper.make_tensor_value_info("w", FLOAT, (2, 3, 3, 3)))
    graph = imported(listed)
    assert graph.inputs == ("x",)
    assert list(graph.constants) == ["w"]


def test_weights_in_a_file_of_their_own_are_read(tmp_path):
    weights = numbers(2, 3, 3, 3)
    path = tmp_path / "net.onnx"
    onnx.save(model("y = Conv(x, w)", {"w": weights}), path, save_as_external_data=True, size_threshold=0)
    assert path.stat().st_size < weights.nbytes + 300
    np.testing.assert_array_equal(read_onnx(path).graph.constants["w"], weights)


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
    graph = imported(model(f"c = Constant<{constant}>()\ny = Mul(x, c)"))
    assert operators(graph) == ["Mul"]
    assert graph.constants["c"].dtype == np.float32
    assert float(graph.constants["c"].reshape(())) == 2.0


def test_a_constant_that_is_a_text_is_an_error():
    with pytest.raises(InputError, match="constant 'c'"):
        imported(model('c = Constant<value_string="a">()\ny = Mul(x, c)'))


def with_choice(condition):
    """One of two branches, each of which reads a value from outside and has a constant of its own."""
    branches = {}
    for key, number in (("then_branch", 2.0), ("else_branch", 3.0)):
        nodes = [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Relu", ["m"], ["z"])]
        k = numpy_helper.from_array(np.float32(number), "k")
        z = helper.make_tensor_value_info("z", FLOAT, (1, 3, 8, 8))
        branches[key] = helper.make_graph(nodes, key, [], [z], [k])
    flow = model(f"{condition}\ny = Relu(x)", {"one": np.array(1)})
    flow.graph.node[-1].CopyFrom(helper.make_node("If", ["c"], ["y"], "choose", **branches))
    return flow


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_control_flow_that_the_image_decides_is_refused(opset):
    flow = with_choice("s = ReduceSum<keepdims=0>(x)\nc = Cast<to=9>(s)")
    flow.opset_import[0].version = opset
    with pytest.raises(InputError, match=r"node 'choose': If holds a subgraph \(control flow\)"):
        imported(flow)


@pytest.mark.parametrize(("axis", "factor"), [(0, 2), (1, 3)])
def test_a_branch_that_shapes_decide_is_taken(axis, factor):
    flow = with_choice(f"s = Shape<start={axis}, end={axis + 1}>(x)\nq = Squeeze(s)\nc = Equal(q, one)")
    graph = imported(flow)
    assert operators(graph) == ["Mul", "Relu"]
    feeds = sample(graph)
    np.testing.assert_array_equal(run_model(to_onnx(graph), feeds)["y"], np.maximum(feeds["x"] * factor, 0))
    np.testing.assert_array_equal(run_model(flow, feeds)["y"], np.maximum(feeds["x"] * factor, 0))


def test_operators_of_other_domains_are_refused():
    custom = model("y = com.microsoft.Gelu(x)")
    custom.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(InputError, match=r"operator com\.microsoft\.Gelu is not an ONNX operator"):
        imported(custom)


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
        imported(quantized)
    assert "Bring the float network" in raised.value.remedy


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16"), (TensorProto.DOUBLE, "float64")],
)
def test_a_network_of_another_precision_is_computed_in_float32(dtype, name):
    weights = numbers(2, 3, 3, 3)
    text = f"""a = Conv(x, w)
        k = Constant<value=float {{2.0}}>()
        h = Cast<to={dtype}>(k)
        b = Mul(a, h)
        y = Cast<to=1>(b)"""
    other = model(text, dtype=dtype)
    other.graph.initializer.append(helper.make_tensor("w", dtype, weights.shape, weights.reshape(-1).tolist()))
    found = import_onnx(other)
    assert {info.dtype.name for info in found.graph.info.values()} == {"float32"}
    assert found.notes == (f"the network is in {name}; edgefer computes it in float32",)
    single = imported(model("a = Conv(x, w)\ny = Mul(a, k)", {"w": weights, "k": np.float32(2)}))
    feeds = sample(single)
    expected, result = (run_model(to_onnx(graph), feeds)["y"] for graph in (single, found.graph))
    np.testing.assert_allclose(result, expected, 0, {"bfloat16": 0.05, "float16": 0.01, "float64": 0}[name])


def test_a_network_in_float32_has_no_notes():
    assert import_onnx(model("y = Relu(x)")).notes == ()


def test_weights_that_are_only_stored_in_half_precision_are_fine():
    weights = numbers(2, 3, 3, 3).astype(np.float16)
    graph = normalise(imported(model("w = Cast<to=1>(h)\ny = Conv(x, w)", {"h": weights})))
    assert operators(graph) == ["Conv"]
    np.testing.assert_array_equal(graph.constants["w"], weights.astype(np.float32))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(number):
    weights = numbers(2, 3, 3, 3)
    weights[1, 2, 0, 0] = number
    with pytest.raises(InputError, match="constant 'w' holds values that are not finite"):
        imported(model("y = Conv(x, w)", {"w": weights}))


def test_an_infinite_bound_is_fine():
    graph = imported(model("y = Clip(x, low, high)", {"low": np.float32(0), "high": np.float32(np.inf)}))
    assert operators(graph) == ["Clip"]


@pytest.mark.parametrize("masked", ["Add(x, mask)", "Where(open, x, mask)"])
def test_a_mask_may_be_infinite_where_nothing_is_to_be_seen(masked):
    mask = np.where(numbers(8, 8) > 0, 0, -np.inf).astype(np.float32)
    exported = model(f"m = {masked}\ny = Softmax(m)", {"mask": mask, "open": mask == 0})
    graph = normalise(imported(exported))
    feeds = sample(graph)
    np.testing.assert_array_equal(run_model(to_onnx(graph), feeds)["y"], run_model(exported, feeds)["y"])


def test_a_mask_may_be_infinite_where_nothing_is_placed():
    places = np.broadcast_to(np.array([2, 0]).reshape(1, 2, 1, 1), (1, 2, 8, 8))
    constants = {"mask": np.full((1, 3, 8, 8), -np.inf, np.float32), "places": places}
    exported = model("m = ScatterElements<axis=1>(mask, places, x)\ny = Softmax<axis=1>(m)", constants, (1, 2, 8, 8))
    graph = normalise(imported(exported))
    feeds = sample(graph)
    np.testing.assert_array_equal(run_model(to_onnx(graph), feeds)["y"], run_model(exported, feeds)["y"])


def test_a_mask_is_never_infinite_upwards():
    with pytest.raises(InputError, match="constant 'mask' holds values that are not finite"):
        imported(model("y = Add(x, mask)", {"mask": np.array([0, np.inf] * 4, np.float32)}))


def test_a_slope_that_does_not_broadcast_is_refused_with_the_shape_that_would():
    with pytest.raises(InputError, match=r"PRelu with a slope of \[3\]") as refused:
        imported(model("y = PRelu(x, slope)", {"slope": numbers(3)}))
    assert "[3, 1, 1]" in refused.value.remedy


@pytest.mark.parametrize("slope", [(), (1,), (8,), (3, 1, 1), (8, 8)])
def test_slopes_that_broadcast_compute_what_onnx_runtime_computes(slope):
    exported = model("y = PRelu(x, slope)", {"slope": numbers(*slope)})
    graph = imported(exported)
    feeds = sample(graph)
    np.testing.assert_array_equal(run_model(to_onnx(graph), feeds)["y"], run_model(exported, feeds)["y"])


@pytest.mark.parametrize("names", [["n", "n", "n"], ["", "Relu_0", "Relu_0"], ["n", "n_1", "n"]])
def test_every_node_gets_a_name_of_its_own(names):
    named = model("a = Relu(x)\nb = Neg(a)\ny = Relu(b)")
    for node, name in zip(named.graph.node, names, strict=True):
        node.name = name
    graph = imported(named)
    assert len(graph.named) == 3
    assert_same_outputs(graph, normalise(graph))


def test_an_input_that_nothing_makes_is_named():
    with pytest.raises(InputError, match="nothing makes its input 'nowhere'"):
        imported(model("y = Add(x, nowhere)"))


def test_shapes_that_do_not_fit_together_are_an_error():
    with pytest.raises(InputError, match=r"MatMul does not fit its inputs \(x \[1, 3, 8, 8\], w \[7, 3\]\)"):
        imported(model("y = MatMul(x, w)", {"w": numbers(7, 3)}))


def test_a_shape_known_only_at_run_time_is_an_error_that_names_the_node():
    with pytest.raises(InputError, match=r"'NonZero_0' \(NonZero\): the shape of its output"):
        imported(model("i = NonZero(x)\ny = Cast<to=1>(i)"))


def test_an_operator_whose_shapes_onnx_does_not_tell_is_refused_by_name():
    with pytest.raises(InputError, match="'SplitToSequence_0': operator SplitToSequence is not supported"):
        imported(model("s = SplitToSequence<axis=1>(x)\ny = SequenceAt(s, first)", {"first": np.array(0)}))


def test_an_operator_that_cannot_be_restated_is_refused_by_name():
    with pytest.raises(InputError, match="'ImageDecoder_0': operator ImageDecoder of opset 20 is not supported"):
        imported(model("y = ImageDecoder(x)", opset=20))


def test_an_operator_of_no_opset_is_refused_by_name():
    with pytest.raises(InputError, match="node 'Nonsense_0': opset 18 has no operator Nonsense"):
        imported(model("y = Nonsense(x)"))


def test_an_opset_that_is_newer_than_the_installed_onnx_is_refused():
    with pytest.raises(InputError, match=r"it is of opset 999, and the onnx that is installed knows those up to"):
        imported(model("y = Relu(x)", opset=999))


@pytest.mark.parametrize("operator", ["RandomNormalLike(x)", "RandomUniformLike(x)", "Bernoulli(x)"])
def test_random_numbers_are_refused(operator):
    with pytest.raises(InputError, match="draws random numbers") as raised:
        imported(model(f"r = {operator}\ny = Add(x, r)"))
    assert "model.eval()" in raised.value.remedy


def test_shapes_that_are_computed_from_shapes_are_known():
    text = """s = Shape(x)
        n = Gather<axis=0>(s, zero)
        o = ConstantOfShape<value=float[1] {1.0}>(s)
        m = Mul(x, o)
        n1 = Unsqueeze(n, axis)
        shape = Concat<axis=0>(n1, rest)
        y = Reshape(m, shape)"""
    graph = imported(model(text, {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}))
    assert operators(graph) == ["Mul", "Reshape"]
    assert graph.shape("y") == (1, 192)


def test_an_output_that_no_image_decides_is_kept():
    graph = imported(model("y = Neg(w)", {"w": numbers(2)}))
    np.testing.assert_array_equal(run_model(to_onnx(graph), sample(graph))["y"], -numbers(2))


@pytest.mark.parametrize("unfolding", ["Expand(w, shape)", "ConstantOfShape(shape)", "Tile(w, shape)"])
def test_constants_that_would_fill_the_memory_are_refused_by_name(unfolding):
    text = f"big = {unfolding}\nm = ReduceMax(big)\ny = Add(x, m)"
    with pytest.raises(InputError, match="would make a constant of 4,000,000,000 bytes"):
        imported(model(text, {"w": numbers(1), "shape": np.array([10**9])}))


def sparse(dims):
    values = numpy_helper.from_array(np.float32([2, 3]), "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.asarray([0, 5])), dims)


def test_sparse_weights_are_unfolded():
    graph = model("y = Mul(x, w)", x=(1, 1, 2, 4))
    graph.graph.sparse_initializer.append(sparse([2, 4]))
    np.testing.assert_array_equal(imported(graph).constants["w"], np.float32([[2, 0, 0, 0], [0, 3, 0, 0]]))
    graph.graph.sparse_initializer[0].CopyFrom(sparse([10**5, 10**6]))
    with pytest.raises(InputError, match="initializer 'w': it would unfold to 400,000,000,000 bytes"):
        imported(graph)


def test_a_value_that_would_fill_the_memory_is_refused_by_name():
    constants = {"p": np.asarray([0, 0, 0, 0, 0, 0, 10**6, 10**6])}
    with pytest.raises(InputError, match=r"node 'Pad_0' \(Pad\) would make \[1, 3, 1000008, 1000008\] numbers"):
        imported(model("p1 = Pad(x, p)\ny = ReduceMax(p1)", constants))


@pytest.mark.parametrize(
    "text",
    [
        "y = GroupNormalization<num_groups=0>(x, s, s)",
        "y = Pad(x, p)",
        'y = MaxPool<kernel_shape="2">(x)',
        "y = Relu()",
        "y = Conv(x, w, w)",
        "y = BatchNormalization(x, s, s, s, w)",
        "y = Clip(x, s)",
        "y = Slice(x, p, p, w)",
        "y = LayerNormalization<axis=2>(x, s)",
        "y = Add(x, p)",
        "y = Resize(x, , p)",
    ],
)
def test_a_node_that_is_not_of_its_operator_is_named(text):
    constants = {"s": numbers(3), "p": np.arange(3), "w": numbers(4, 3, 1, 1)}
    with pytest.raises(InputError, match=r"node '\w+_0' \(\w+\): "):
        imported(model(text, constants, opset=21))


def test_a_summand_that_would_enlarge_a_product_is_named():
    with pytest.raises(InputError, match=r"node 'Gemm_1' \(Gemm\): the shapes of its inputs do not fit each other"):
        imported(model("f = Flatten(x)\ny = Gemm<transB=1>(f, v, s)", {"v": numbers(5, 192), "s": numbers(3)}))


def test_an_attribute_without_a_value_is_damaged():
    damaged = model("y = Softmax<axis=1>(x)")
    damaged.graph.node[0].attribute[0].ClearField("type")
    with pytest.raises(InputError, match="node 'Softmax_0': its attribute 'axis' is damaged"):
        imported(damaged)


def test_what_no_output_depends_on_is_left_out():
    graph = imported(model("i = NonZero(x)\nr = RandomNormalLike(x)\ny, unread = MaxPool<kernel_shape=[2, 2]>(x)"))
    assert operators(graph) == ["MaxPool"]
    assert graph.nodes[0].outputs == ("y",)


def test_a_value_that_is_made_twice_is_an_error():
    with pytest.raises(InputError, match="value 'a' is made twice"):
        imported(model("a = Relu(x)\na = Neg(x)\ny = Relu(a)"))


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
        graph = read_onnx(path).graph
    except InputError as error:
        assert str(path) in error.message
    else:
        assert graph.outputs


def test_a_name_that_is_no_text_is_an_input_error(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE.replace(b"Conv", b"C\xffnv"))
    with pytest.raises(InputError, match="a name in it is not UTF-8"):
        read_onnx(path)
