import numpy as np
import pytest

from edgefer.graph.passes.canonicalise import (
    flatten_pixels,
    fuse_activations,
    merge_matmul_bias,
    merge_reshapes,
    plain_gemms,
    pool_globally,
)
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.patterns import is_plain_gemm
from tests.graph.networks import assert_same_outputs, network, numbers, operators

SHAPES = {"back": np.array([3, 1, 25]), "zero": np.array([0])}


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-2, -1], [2, -1]])
def test_a_mean_over_height_and_width_is_a_global_pool(axes):
    graph = network("y = ReduceMean(x, axes)", "y", {"axes": np.array(axes)})
    after = pool_globally(graph)
    assert operators(after) == ["GlobalAveragePool"]
    assert_same_outputs(graph, after)


def test_a_mean_that_drops_its_axes_is_a_global_pool_and_a_flatten():
    graph = network("y = ReduceMean<keepdims=0>(x, axes)", "y", {"axes": np.array([-1, -2])})
    after = pool_globally(graph)
    assert operators(after) == ["GlobalAveragePool", "Flatten"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("y = ReduceMean(x, height)", (1, 3, 5, 5)),
        ("y = ReduceMean(x, all)", (1, 3, 5, 5)),
        ("y = ReduceMean(x)", (1, 3, 5, 5)),
        ("y = ReduceMean(x, both)", (1, 3, 4, 5, 6)),
        ("y = ReduceMax(x, both)", (1, 3, 5, 5)),
    ],
)
def test_other_reductions_are_left_alone(text, x):
    graph = network(text, "y", {"height": np.array([2]), "all": np.array([1, 2, 3]), "both": np.array([2, 3])}, x)
    assert pool_globally(graph) is graph


@pytest.mark.parametrize("first", ["Reshape(x, wide)", "Flatten(x)", "Unsqueeze(x, zero)"])
def test_of_reshapes_in_a_row_the_last_is_left(first):
    graph = network(f"a = {first}\ny = Reshape(a, back)", "y", {**SHAPES, "wide": np.array([1, 5, 15])})
    after = remove_dead(merge_reshapes(graph))
    assert operators(after) == ["Reshape"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("bias", [numbers(4), numbers(1, 4)], ids=["(4,)", "(1, 4)"])
@pytest.mark.parametrize("total", ["Add(a, b)", "Add(b, a)"])
def test_a_matmul_and_its_bias_are_one_gemm(bias, total):
    graph = network(f"a = MatMul(x, w)\ny = {total}", "y", {"w": numbers(3, 4), "b": bias}, x=(1, 3))
    after = merge_matmul_bias(graph)
    assert operators(after) == ["Gemm"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("text", ["a = MatMul(x, w)\ny = Add(a, b)", "y = MatMul(x, w)"])
def test_sets_of_rows_are_multiplied_at_once(text):
    graph = network(text, "y", {"w": numbers(3, 4), "b": numbers(4)}, x=(2, 5, 3))
    after = merge_matmul_bias(graph)
    assert operators(after) == ["Reshape", "Gemm", "Reshape"]
    assert_same_outputs(graph, after)


def test_layers_that_follow_each_other_directly_become_gemms_together():
    text = "a = MatMul(x, w)\nb1 = Add(a, b)\nc = MatMul(b1, w)\ny = Add(c, b)"
    graph = network(text, "y", {"w": numbers(3, 3), "b": numbers(3)}, x=(1, 3))
    after = merge_matmul_bias(graph)
    assert operators(after) == ["Gemm", "Gemm"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "bias"),
    [
        ("a = MatMul(x, w)\ny = Add(a, b)\nz = Neg(a)", numbers(4)),
        ("a = MatMul(x, w)\ny = Add(a, b)\nz = Neg(y)", numbers(1, 1, 4)),
        ("a = MatMul(x, w)\ny = Add(a, b)\nz = Neg(y)", numbers(2, 4)),
        ("a = MatMul(x, w)\ny = Add(a, b)\nz = Neg(y)", numbers(1)),
        ("a = MatMul(x, w)\ny = Add(a, a)\nz = Neg(y)", numbers(4)),
        ("a = MatMul(x, w)\nc = Neg(a)\ny = Add(c, a)\nz = Neg(y)", numbers(4)),
    ],
    ids=["two readers", "a bias of more axes", "a bias of more rows", "a single number", "to itself", "computed"],
)
def test_what_is_no_bias_of_the_matmul_stays_an_add(text, bias):
    graph = network(text, "y z", {"w": numbers(3, 4), "b": bias}, x=(1, 3))
    after = merge_matmul_bias(graph)
    assert sorted(set(operators(after)) - {"Neg"}) == ["Add", "Gemm"]
    assert_same_outputs(graph, after)


def test_a_matmul_of_maps_by_a_matrix_and_the_bias_behind_it_multiply_all_rows():
    text = "a = Transpose<perm=[0, 2, 3, 1]>(x)\nb = MatMul(a, w)\ny = Add(b, bias)"
    graph = network(text, "y", {"w": numbers(3, 2), "bias": numbers(2)})
    after = merge_matmul_bias(graph)
    assert operators(after) == ["Transpose", "Reshape", "Gemm", "Reshape"]
    assert_same_outputs(graph, after)


def test_a_matmul_of_two_activations_or_by_stacks_is_left_alone():
    text = "a = Transpose<perm=[0, 1, 3, 2]>(x)\nb = MatMul(x, a)\ny = MatMul(b, w)"
    graph = network(text, "y", {"w": numbers(3, 5, 2)})
    assert merge_matmul_bias(graph) is graph


BOUNDS = {"low": np.float32(0), "six": np.float32(6), "five": np.float32(5), "below": np.float32(-1)}
WEIGHTS = {"w": numbers(4, 3, 3, 3), **BOUNDS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = Conv(x, w)\ny = Relu(a)", ["Conv+Relu"]),
        ("a = Conv(x, w)\ny = Clip(a, low, six)", ["Conv+Relu6"]),
        ("a = Conv(x, w)\nb = Relu(a)\ny = Neg(b)", ["Conv+Relu", "Neg"]),
        ("a = Add(x, x)\ny = Relu(a)", ["Add+Relu"]),
        ("a = Conv(x, w)\nb = Relu(a)\ny = Relu(b)", ["Conv+Relu", "Relu"]),
        ("a = Conv(x, w)\nb = Relu(a)\ny = Clip(b, low, six)", ["Conv+Relu", "Clip"]),
    ],
)
def test_a_relu_joins_the_linear_operator_before_it(text, expected):
    graph = network(text, "y", WEIGHTS)
    after = fuse_activations(graph)
    assert operators(after) == expected
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("a = Conv(x, w)\ny = Relu(a)\nz = Neg(a)", "y z"),
        ("a = Conv(x, w)\ny = Relu(a)", "a y"),
        ("a = Conv(x, w)\ny = Clip(a, low, five)", "y"),
        ("a = Conv(x, w)\ny = Clip(a, below, six)", "y"),
        ("a = Conv(x, w)\ny = Clip(a, low)", "y"),
        ("a = Conv(x, w)\ny = Clip(a, , six)", "y"),
        ("a = MaxPool<kernel_shape=[2, 2]>(x)\ny = Relu(a)", "y"),
        ("y = Relu(x)", "y"),
    ],
    ids=["two readers", "graph output", "another bound", "below zero", "no upper", "no lower", "no linear", "input"],
)
def test_a_relu_that_cannot_join_stays(text, outputs):
    graph = network(text, outputs, WEIGHTS)
    assert fuse_activations(graph) is graph


@pytest.mark.parametrize(
    ("attributes", "weights", "summand"),
    [
        ("beta=1.0", (3, 4), ()),
        ("beta=3.0", (3, 4), (1,)),
        ("transB=0", (3, 4), (1, 1)),
        ("alpha=0.5", (3, 4), None),
        ("alpha=0.5, beta=2.0, transB=1", (4, 3), (4,)),
    ],
)
def test_factors_and_scalars_join_the_constants_of_a_gemm(attributes, weights, summand):
    constants = {"w": numbers(*weights)} | ({} if summand is None else {"c": numbers(*summand)})
    graph = network(f"y = Gemm<{attributes}>({', '.join(['x', *constants])})", "y", constants, (1, 3))
    after = plain_gemms(graph)
    assert is_plain_gemm(after, after.nodes[0])
    assert_same_outputs(graph, after)


def test_a_gemm_of_columns_turns_them_into_rows():
    graph = network("y = Gemm<transA=1>(x, w)", "y", {"w": numbers(1, 4)}, (1, 3))
    after = plain_gemms(graph)
    assert operators(after) == ["Transpose", "Gemm"]
    assert_same_outputs(graph, after)


def test_a_gemm_with_a_number_for_each_row_is_left_alone():
    graph = network("t = Transpose(x)\ny = Gemm(t, w, c)", "y", {"w": numbers(1, 4), "c": numbers(3, 1)}, (1, 3))
    assert plain_gemms(graph) is graph


@pytest.mark.parametrize("line", ["y = Reshape(p, row)", "y = Squeeze(p, pixel)"])
def test_a_map_of_one_pixel_that_becomes_a_row_is_flattened(line):
    constants = {"row": np.array([1, -1]), "pixel": np.array([2, 3])}
    graph = network(f"p = GlobalAveragePool(x)\n{line}", "y", constants)
    after = flatten_pixels(graph)
    assert operators(after) == ["GlobalAveragePool", "Flatten"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("shape", [[1, -1], [3, -1]])
def test_other_reshapes_are_left_alone(shape):
    graph = network("y = Reshape(x, shape)", "y", {"shape": np.array(shape)})
    assert flatten_pixels(graph) is graph
