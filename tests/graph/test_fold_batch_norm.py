import numpy as np
import pytest

from edgefer.graph.passes import normalise
from edgefer.graph.passes.fold_batch_norm import fold_batch_norm
from tests.graph.networks import IMAGE, assert_same_outputs, network, norm_constants, numbers, operators

NORM = "BatchNormalization<epsilon=0.001>"
STORED = "gamma, beta, mean, variance"


@pytest.mark.parametrize(
    ("linear", "x", "channels", "constants"),
    [
        ("Conv(x, w)", IMAGE, 4, {"w": numbers(4, 3, 3, 3)}),
        ("Conv<strides=[2, 2]>(x, w, b)", IMAGE, 4, {"w": numbers(4, 3, 3, 3), "b": numbers(4)}),
        ("Conv<group=3>(x, w)", IMAGE, 6, {"w": numbers(6, 1, 3, 3)}),
        ("ConvTranspose(x, w)", IMAGE, 4, {"w": numbers(3, 4, 2, 2)}),
        ("Gemm(x, w)", (1, 3), 4, {"w": numbers(3, 4)}),
        ("Gemm<transB=1>(x, w, b)", (1, 3), 4, {"w": numbers(4, 3), "b": numbers(1, 4)}),
    ],
)
def test_a_norm_merges_into_the_linear_operator_before_it(linear, x, channels, constants):
    text = f"a = {linear}\nnormed = {NORM}(a, {STORED})\ny = Relu(normed)"
    graph = network(text, "y", {**constants, **norm_constants(channels)}, x)
    after = fold_batch_norm(graph)
    assert len(after.nodes) == 2
    assert "BatchNormalization" not in operators(after)
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "outputs", "x", "constants"),
    [
        (f"a = Conv(x, w)\ny = {NORM}(a, {STORED})\nz = Relu(a)", "y z", IMAGE, {"w": numbers(4, 3, 3, 3)}),
        (f"a = Conv(x, w)\ny = {NORM}(a, {STORED})", "a y", IMAGE, {"w": numbers(4, 3, 3, 3)}),
        (f"a = Relu(x)\ny = {NORM}(a, {STORED})", "y", (1, 4, 5, 5), {}),
        (f"y = {NORM}(x, {STORED})", "y", (1, 4, 5, 5), {}),
        (f"v = Mul(x, w)\na = Conv(x, v)\ny = {NORM}(a, {STORED})", "y", (1, 4, 1, 1), {"w": numbers(4, 1, 1, 1)}),
        (f"a = ConvTranspose<group=4>(x, w)\ny = {NORM}(a, {STORED})", "y", (1, 4, 5, 5), {"w": numbers(4, 1, 2, 2)}),
        (f"a = Gemm<alpha=0.5>(x, w)\ny = {NORM}(a, {STORED})", "y", (1, 3), {"w": numbers(3, 4)}),
    ],
    ids=["two readers", "graph output", "no linear", "at the input", "computed weights", "grouped", "scaled Gemm"],
)
def test_a_norm_that_cannot_merge_becomes_a_convolution_or_mul_and_add(text, outputs, x, constants):
    graph = network(text, outputs, {**constants, **norm_constants(4)}, x)
    after = fold_batch_norm(graph)
    made = [node.op for node in after.nodes if node.name not in graph.named or node.output == "y"]
    assert made == (["Conv"] if len(x) == 4 else ["Mul", "Add"])
    assert len(x) < 4 or after.producers["y"].int("group") == 4
    assert_same_outputs(graph, after)


def test_weights_that_two_convolutions_share_are_folded_for_each_alone():
    text = f"a = Conv(x, w)\nb = {NORM}(a, {STORED})\nc = Conv(b, w)\ny = Conv(c, w)"
    graph = network(text, "y", {"w": numbers(3, 3, 2, 2), **norm_constants(3)})
    after = fold_batch_norm(graph)
    assert operators(after) == ["Conv", "Conv", "Conv"]
    assert_same_outputs(graph, after)


def test_norm_after_norm_merges_into_the_same_convolution():
    text = f"a = Conv(x, w)\nb = {NORM}(a, {STORED})\ny = {NORM}(b, {STORED})"
    graph = network(text, "y", {"w": numbers(4, 3, 3, 3), **norm_constants(4)})
    after = fold_batch_norm(graph)
    assert operators(after) == ["Conv"]
    assert_same_outputs(graph, after)


def test_a_relu_behind_a_norm_that_shifts_by_nothing_survives_normalisation():
    constants = {**norm_constants(3), "beta": np.zeros(3, np.float32), "mean": np.zeros(3, np.float32)}
    graph = network(f"a = Neg(x)\nb = {NORM}(a, {STORED})\ny = Relu(b)", "y", constants)
    assert_same_outputs(graph, normalise(graph))


def test_a_norm_by_statistics_of_the_batch_itself_is_left_alone():
    text = f"y, m, v = BatchNormalization<training_mode=1>(x, {STORED})"
    graph = network(text, "y", norm_constants(3))
    assert fold_batch_norm(graph) is graph


def test_a_network_without_norms_is_returned_as_it_is():
    graph = network("y = Conv(x, w)", "y", {"w": numbers(4, 3, 3, 3)})
    assert fold_batch_norm(graph) is graph
