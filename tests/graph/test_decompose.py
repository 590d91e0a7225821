import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.graph.passes.decompose import decompose
from edgefer.plan import Plan
from edgefer.runtime.delegation import undelegated
from tests.emit.harness import run_onnx, run_tflite
from tests.graph.networks import assert_same_outputs, network, numbers, operators

SIXTH = "alpha=0.16666667, beta=0.5"
SCALE = numbers(4, seed=3)
MAP = (1, 4, 3, 5)

COMPOSED = {
    "HardSigmoid(x)": "Mul Add Clip Mul",
    f"HardSigmoid<{SIXTH}>(x)": "Mul Add Clip Mul",
    "PRelu(x, one)": "LeakyRelu",
    "Softplus(x)": "Max Abs Neg Exp Add Log Add",
    "Mish(x)": "Sigmoid Sub Mul Sub Div Mul",
    "Softsign(x)": "Abs Add Div",
    "Elu<alpha=0.5>(x)": "Max Mul Min Elu Mul Add",
    "Celu<alpha=1.5>(x)": "Mul Elu Mul",
    "Selu(x)": "Max Mul Min Elu Mul Add",
    "ThresholdedRelu<alpha=0.3>(x)": "Sub Max Min Ceil Mul",
    "Shrink<bias=0.2>(x)": None,
    "Sign(x)": "Max Min Ceil Floor Add",
    "Erf(x)": None,
    "LogSoftmax<axis=1>(x)": "ReduceMax Sub Exp ReduceSum Log Sub",
    "Sum(x, x, x)": "Add Add",
    "Mean(x, x)": "Add Mul",
    "Max(x, one, x)": "Max Max",
    "Div(x, three)": "Mul",
    "CumSum(x, last)": "MatMul",
    "Trilu(x, last)": "Mul",
    "MaxPool<kernel_shape=[1, 1], strides=[2, 3]>(x)": "Slice Slice",
    "CumSum<reverse=1, exclusive=1>(x, first)": "Transpose MatMul Transpose",
    "ReduceL1(x, axes)": "Abs ReduceSum",
    "ReduceL2<keepdims=0>(x, axes)": "Mul ReduceSum Sqrt",
    "ReduceSumSquare(x)": "Mul ReduceSum",
    "ReduceLogSumExp<keepdims=0>(x, axes)": "ReduceMax Sub Exp ReduceSum Log Add Reshape",
    "LpNormalization<axis=1>(x)": "Mul ReduceSum Sqrt Max Div",
    "LpNormalization<axis=2, p=1>(x)": "Abs ReduceSum Max Div",
    "Tile(x, repeats)": "Reshape Expand Reshape",
    "Where(open, x, three)": "Mul Add",
    "Where(open, zero, x)": "Mul",
    "Where(open, x, infinity)": "Add",
}

CONSTANTS = {
    "one": np.float32(0.25),
    "three": np.float32(3),
    "last": np.array(3),
    "first": np.array(1),
    "axes": np.array([1, -1]),
    "repeats": np.array([1, 2, 1, 3]),
    "open": np.arange(15).reshape(3, 5) % 3 > 0,
    "zero": np.float32(0),
    "infinity": np.float32(-np.inf),
}


@pytest.mark.parametrize("text", COMPOSED)
def test_other_operators_compute_the_same(text):
    graph = network(f"y = {text}", "y", CONSTANTS, MAP)
    after = decompose(graph)
    assert graph.nodes[0].op not in operators(after) or graph.nodes[0].op in ("Max", "Elu")
    if (expected := COMPOSED[text]) is not None:
        assert " ".join(operators(after)) == expected
    assert_same_outputs(graph, after)
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize("text", ["Elu(x)", "Max(x, one)", "Div(one, x)", "Relu(x)"])
def test_what_runtimes_have_is_left_alone(text):
    graph = network(f"y = {text}", "y", CONSTANTS, MAP)
    assert decompose(graph) is graph


def test_softplus_and_mish_do_not_overflow():
    graph = network("a = Mul(x, scale)\ny = Softplus(a)\nz = Mish(a)", "y z", {"scale": np.float32(200)}, MAP)
    assert_same_outputs(graph, normalise(graph), rtol=1e-6)


def test_the_sign_of_zero_is_zero_and_that_of_tiny_and_of_huge_numbers_is_theirs():
    x = np.array([[0, 1e-37, -1e-37, 1e-30, -0.5, 0.5, 1, -3, 3e38, -3e38]], np.float32)
    graph = normalise(network("y = Sign(x)", "y", x=x.shape))
    model = emit_tflite(graph, Plan())
    for found in (run_onnx(graph, {"x": x}), run_tflite(model, {"x": x})):
        np.testing.assert_array_equal(found["y"], np.sign(x))
    assert undelegated(model) == []


def test_a_norm_of_zeros_is_zero():
    graph = network("a = Mul(x, zero)\ny = LpNormalization<axis=1>(a)", "y", {"zero": np.float32(0)}, MAP)
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_cut_from_a_map_are_normalised_in_the_map(groups):
    text = "a = Reshape(x, rows)\nb = InstanceNormalization(a, ones, zeros)\nc = Reshape(b, map)\ny = Mul(c, scale)"
    shapes = {"rows": np.array([1, groups, -1]), "map": np.array(MAP)}
    ones = {"ones": np.ones(groups, np.float32), "zeros": np.zeros(groups, np.float32)}
    graph = network(text, "y", {**shapes, **ones, "scale": SCALE.reshape(4, 1, 1)}, MAP)
    after = normalise(graph)
    assert operators(after) == ["Reshape", "InstanceNormalization", "Reshape", "Mul"]
    assert after.shape(after.nodes[0].output) == (1, groups, 4 // groups, 3, 5)
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(("reader", "left"), [("Mul(x, e)", ["ReduceMean", "Mul"]), ("Concat<axis=1>(x, e)", None)])
def test_what_a_reader_expands_by_itself_is_not_expanded(reader, left):
    text = f"m = ReduceMean(x, axes)\ne = Expand(m, shape)\ny = {reader}"
    graph = network(text, "y", {"axes": np.array([1]), "shape": np.array(MAP)}, MAP)
    after = normalise(graph)
    assert operators(after) == (left or ["ReduceMean", "Expand", "Concat"])
    assert_same_outputs(graph, after)


def test_names_that_the_network_has_taken_are_not_given_again():
    graph = network("y_1 = Neg(x)\na = HardSigmoid(y_1)\ny = HardSigmoid(a)", "y", x=MAP)
    first, *_ = (node.name for node in graph.nodes if node.op == "HardSigmoid")
    taken = graph.with_constants({f"{first}/Mul": numbers(1), f"{first}/constant": numbers(1)})
    after = decompose(taken)
    assert len({node.name for node in after.nodes}) == len(after.nodes)
    assert len({value for node in after.nodes for value in node.outputs}) == len(after.nodes)
    assert_same_outputs(graph, after)


def recurrent(op, hidden, directions, size=5):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op] * hidden
    return {
        "w": numbers(directions, gates, size),
        "r": numbers(directions, gates, hidden, seed=1),
        "b": numbers(directions, 2 * gates, seed=2),
        "h": numbers(directions, 1, hidden, seed=3),
    }


@pytest.mark.parametrize("state", ["", ", , h"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "GRU", "GRU after", "LSTM"])
def test_a_recurrent_layer_is_unrolled(op, direction, state):
    op, *after = op.split()
    settings = f'hidden_size=3, direction="{direction}"{", linear_before_reset=1" if after else ""}'
    outputs = "y, yh, yc" if op == "LSTM" else "y, yh"
    text = f"{outputs} = {op}<{settings}>(x, w, r, b{state})"
    constants = recurrent(op, 3, 2 if direction == "bidirectional" else 1)
    graph = network(text, outputs.replace(",", ""), constants, (4, 1, 5))
    after_it = normalise(graph)
    assert not {"RNN", "GRU", "LSTM"} & set(operators(after_it))
    assert_same_outputs(graph, after_it)
    recurrences = [
        value for value in after_it.constants.values() if value.ndim == 2 and value.shape[1] == 3 < len(value) + 1
    ]
    assert len(recurrences) <= (4 if op == "GRU" else 2)  # stored once, not once for each step


def test_only_the_last_state_is_made_where_only_it_is_read():
    graph = network("y, yh = RNN<hidden_size=3>(x, w, r, b)", "yh", recurrent("RNN", 3, 1), (4, 1, 5))
    assert "Concat" not in operators(decompose(graph))
    assert_same_outputs(graph, decompose(graph))


def test_recurrent_layers_of_other_kinds_are_left_alone():
    graph = network(
        'y, yh = RNN<hidden_size=3, activations=["Affine"]>(x, w, r, b)', "yh", recurrent("RNN", 3, 1), (4, 1, 5)
    )
    assert decompose(graph) is graph


@pytest.mark.parametrize(
    "equation",
    ["bcij,bcjk->bcik", "bcij,bckj->bcik", "bcij,bcij->bc", "bcij,bdij->bcd", "bcij,bcij->bcij", "bcij,bcij->bji"],
)
def test_an_einsum_of_two_is_a_product(equation):
    graph = network(f'a = Neg(x)\ny = Einsum<equation="{equation}">(x, a)', "y", {}, (1, 2, 5, 5))
    assert "Einsum" not in operators(decompose(graph))
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize("equation", ["bcij->bci", "bcij->jbic", "...ij->...ji", "bcij"])
def test_an_einsum_of_one_is_a_sum_and_a_transpose(equation):
    graph = network(f'y = Einsum<equation="{equation}">(x)', "y", {}, MAP)
    assert "Einsum" not in operators(normalise(graph))
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize(
    "text",
    [
        "Conv<pads=[2, 1], strides=[2]>(x, w, b)",
        "Conv<dilations=[2]>(x, w)",
        "Conv<group=4>(x, d)",
        "ConvTranspose<strides=[2], output_padding=[1]>(x, t)",
        "MaxPool<kernel_shape=[3], strides=[2], pads=[1, 1]>(x)",
        "AveragePool<kernel_shape=[2], strides=[2]>(x)",
        "GlobalMaxPool(x)",
    ],
)
def test_one_dimension_is_a_map_of_one_row(text):
    constants = {"w": numbers(6, 4, 3), "b": numbers(6), "d": numbers(4, 1, 3), "t": numbers(4, 2, 3)}
    graph = network(f"y = {text}", "y", constants, (1, 4, 9))
    after = normalise(graph)
    assert operators(after) == ["Reshape", graph.nodes[0].op, "Reshape"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("kernel", "op"), [([1, 5], "ReduceMean"), ([3, 1], "ReduceMean"), ([3, 5], "GlobalAveragePool")]
)
def test_an_average_over_a_whole_axis_is_a_mean(kernel, op):
    graph = network(f"y = AveragePool<kernel_shape={kernel}>(x)", "y", {}, MAP)
    assert operators(normalise(graph)) == [op]
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_sampling_by_a_grid_is_a_product_with_how_near_it_is(padding, aligned):
    how = f'padding_mode="{padding}", align_corners={aligned}'
    text = f"g = Reshape(x, shape)\nh = Mul(g, wide)\ny = GridSample<{how}>(x, h)"
    constants = {"shape": np.array([1, 5, 6, 2]), "wide": np.float32(0.7)}
    graph = network(text, "y", constants, MAP)
    after = normalise(graph)
    assert "GridSample" not in operators(after)
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_sampling_of_several_maps_by_a_grid_is_left_alone(padding):
    text = f'g = Reshape(x, shape)\ny = GridSample<mode="bicubic", padding_mode="{padding}">(x, g)'
    graph = network(text, "y", {"shape": np.array([2, 5, 6, 2])}, (2, 4, 3, 5))
    assert decompose(graph) is graph
