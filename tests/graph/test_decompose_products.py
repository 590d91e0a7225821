"""Products with vectors and Einsum of any form; they compute what ONNX Runtime computes."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.graph.passes.decompose import decompose
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import network, numbers, operators

IMAGE = (1, 3, 4, 5)


def assert_all_agree(graph, after):
    feeds = sample(graph)
    expected = run_onnx(graph, feeds)["y"]
    for found in (run_onnx(after, feeds)["y"], run_tflite(emit_tflite(after, Plan()), feeds)["y"]):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "y = MatMul(x, columns)",
        "y = MatMul(rows, x)",
        "a = Transpose<perm=[0, 2, 3, 1]>(x)\nb = MatMul(a, luma)\nc = Unsqueeze(b, first)\ny = Mul(c, half)",
        "a = Reshape(x, flat)\nb = MatMul(a, a)\ny = Unsqueeze(b, zero)",
        "a = ReduceMean<keepdims=0>(x, all_but_last)\nb = MatMul(a, table)\ny = Unsqueeze(b, zero)",
        "a = ReduceMean<keepdims=0>(x, all_but_last)\ny = MatMul(x, a)",
    ],
)
def test_a_vector_is_a_matrix_of_one_column(text):
    constants = {
        "columns": numbers(5),
        "rows": numbers(4),
        "luma": np.array([0.299, 0.587, 0.114], np.float32),
        "table": numbers(5, 6),
        "first": np.array([1]),
        "zero": np.array([0]),
        "flat": np.array([-1]),
        "half": np.float32(0.5),
        "all_but_last": np.array([0, 1, 2]),
    }
    graph = network(text, "y", constants, IMAGE)
    after = normalise(graph)
    products = [node for node in after.nodes if node.op in ("MatMul", "Gemm")]
    assert products
    assert all(len(after.shape(value)) > 1 for node in products for value in node.inputs[:2])
    assert_all_agree(graph, after)


@pytest.mark.parametrize(
    "equation",
    [
        "bchw,bdhw,bchw->bcd",
        "bchw,bdhw,bchw->bdhw",
        "...w,...w,...w->...w",
        "bchw,bchv,bdhv->bcdw",
        "bchw,bdhw,behw",
    ],
)
def test_an_einsum_of_three_is_two_of_two(equation):
    graph = network(f'a = Neg(x)\nb = Abs(x)\ny = Einsum<equation="{equation}">(x, a, b)', "y", {}, IMAGE)
    after = normalise(graph)
    assert "Einsum" not in operators(after)
    assert_all_agree(graph, after)


def test_a_linear_attention_is_products():
    text = 'a = Reshape(x, shape)\nk = Sigmoid(a)\nkv = Einsum<equation="bnd,bne->bde">(k, a)\n'
    text += 's = ReduceMean<keepdims=0>(k, last)\ny = Einsum<equation="bnd,bde,bn->bne">(a, kv, s)'
    graph = network(text, "y", {"shape": np.array([1, 10, 6]), "last": np.array([2])}, IMAGE)
    after = normalise(graph)
    assert operators(after) == ["Reshape", "Sigmoid", "Transpose", "MatMul", "ReduceMean", "MatMul", "Reshape", "Mul"]
    assert_all_agree(graph, after)


@pytest.mark.parametrize("equation", ["bcii->bci", "bcii->bc", "bcii->ibc", "...ii->...i", "bcii"])
def test_an_axis_named_twice_is_a_diagonal(equation):
    graph = network(f'y = Einsum<equation="{equation}">(x)', "y", {}, (1, 3, 4, 4))
    after = normalise(graph)
    assert "Einsum" not in operators(after)
    assert_all_agree(graph, after)


def test_a_diagonal_may_be_multiplied():
    graph = network('y = Einsum<equation="bcii,ij->bcj">(x, w)', "y", {"w": numbers(4, 5)}, (1, 3, 4, 4))
    assert_all_agree(graph, normalise(graph))


def test_an_einsum_that_sums_over_nothing_multiplies_in_place():
    graph = network('a = Neg(x)\ny = Einsum<equation="bchw,bchw->bchw">(x, a)', "y", {}, IMAGE)
    assert operators(normalise(graph)) == ["Neg", "Mul"]
    graph = network('y = Einsum<equation="bchw,c->bchw">(x, w)', "y", {"w": numbers(3)}, IMAGE)
    assert operators(normalise(graph)) == ["Mul"]
    assert_all_agree(graph, normalise(graph))


def test_many_axes_are_joined_by_a_product_of_matrices():
    graph = network('a = Neg(x)\ny = Einsum<equation="bchw,bdhv->bchwdv">(x, a)', "y", {}, IMAGE)
    assert "MatMul" in operators(normalise(graph))
    assert_all_agree(graph, normalise(graph))


def test_axes_that_an_einsum_repeats_are_left_alone():
    graph = network('y = Einsum<equation="bchw,ch->bchw">(x, w)', "y", {"w": numbers(3, 1)}, IMAGE)
    assert decompose(graph) is graph
