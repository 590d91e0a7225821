"""Layouts: permutations of axes, and networks without transposes between their operators."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgefer.emit.tflite import emit_tflite
from edgefer.emit.tflite.layout import after_transpose, between, permuted, same_order, with_leading_axes
from edgefer.plan import Plan
from tests.emit.harness import graph_of, operators, run_onnx, run_tflite, sample

RANK = 4
permutations = st.permutations(range(RANK)).map(tuple)
arrays = st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).standard_normal((2, 3, 4, 5)))


@given(arrays, permutations, permutations)
def test_between_is_the_transpose_from_one_layout_to_another(array, have, want) -> None:
    moved = array.transpose(have).transpose(between(have, want))
    np.testing.assert_array_equal(moved, array.transpose(want))


@given(arrays, permutations, permutations)
def test_after_transpose_names_how_the_untouched_tensor_stores_the_result(array, layout, order) -> None:
    stored = array.transpose(layout)
    transposed = array.transpose(order)
    np.testing.assert_array_equal(stored, transposed.transpose(after_transpose(layout, order)))


@given(st.tuples(*[st.sampled_from([1, 2, 3])] * RANK), permutations, permutations)
def test_same_order_is_told_exactly(shape, one, other) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    equal = np.array_equal(array.transpose(one).ravel(), array.transpose(other).ravel())
    assert same_order(shape, one, other) == equal
    assert permuted(shape, one) == array.transpose(one).shape


def test_leading_axes_stay_in_front() -> None:
    assert with_leading_axes((1, 0), 4) == (0, 1, 3, 2)


def test_an_image_in_nhwc_needs_no_transpose_at_all() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "scale": rng.standard_normal((1, 3, 1, 1)).astype(np.float32),
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "slope": rng.random((8, 1, 1)).astype(np.float32),
        "reduce": rng.standard_normal((8, 8, 1, 1)).astype(np.float32),
        "fc": rng.standard_normal((8, 5)).astype(np.float32),
    }
    graph = graph_of(
        [
            helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Mul", ["planes", "scale"], ["scaled"]),
            helper.make_node("Conv", ["scaled", "w"], ["features"], strides=[2, 2]),
            helper.make_node("PRelu", ["features", "slope"], ["active"]),
            helper.make_node("GlobalAveragePool", ["active"], ["squeezed"]),
            helper.make_node("Conv", ["squeezed", "reduce"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["gate"]),
            helper.make_node("Mul", ["gate", "active"], ["gated"]),
            helper.make_node("Concat", ["gated", "active"], ["both"], axis=1),
            helper.make_node("Split", ["both"], ["first", "second"], axis=1, num_outputs=2),
            helper.make_node("Add", ["first", "second"], ["sum"]),
            helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "fc"], ["scores"]),
        ],
        {"image": (1, 9, 9, 3)},
        ["scores"],
        constants,
    )
    model = emit_tflite(graph, Plan())
    assert "TRANSPOSE" not in operators(model)
    assert operators(model).count("RESHAPE") == 1
    feeds = sample(graph)
    np.testing.assert_allclose(run_tflite(model, feeds)["scores"], run_onnx(graph, feeds)["scores"], rtol=1e-4)


def test_a_transpose_is_made_once_for_all_who_ask() -> None:
    graph = graph_of(
        [helper.make_node("MaxPool", ["x"], ["a"], kernel_shape=[2, 2]),
         helper.make_node("AveragePool", ["x"], ["b"], kernel_shape=[2, 2]),
         helper.make_node("Add", ["a", "b"], ["y"])],
        {"x": (1, 3, 8, 8)},
        ["y"],
    )  # fmt: skip
    expected = ["TRANSPOSE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "TRANSPOSE"]
    assert operators(emit_tflite(graph, Plan())) == expected


def test_outputs_that_alias_an_input_or_each_other_are_tensors_of_their_own() -> None:
    graph = graph_of(
        [
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        ],
        {"x": (1, 2, 3)},
        ["same", "turned"],
    )
    feeds = sample(graph)
    found = run_tflite(emit_tflite(graph, Plan()), feeds)
    np.testing.assert_array_equal(found["same"], feeds["x"])
    np.testing.assert_array_equal(found["turned"], feeds["x"].transpose(0, 2, 1))
