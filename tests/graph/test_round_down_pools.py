"""Pools that round up are said by pads alone, and compute what ONNX Runtime made of the original."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgefer.graph.onnx_io import from_onnx, to_onnx
from edgefer.graph.round_down_pools import round_down_pools
from tests.emit.harness import run_model


def model(*nodes: onnx.NodeProto, x: tuple[int, ...] = (1, 2, 7, 6)) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "pools",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def pool(op: str, x: str = "x", y: str = "y", **attributes) -> onnx.NodeProto:
    return helper.make_node(op, [x], [y], y, ceil_mode=1, **attributes)


def assert_computes_the_same(original: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    output = original.graph.output[0].name
    expected = run_model(original, feeds)[output]
    graph = from_onnx(original)
    assert graph.shape(output) == expected.shape
    assert not any(node.int("ceil_mode") for node in graph.nodes)
    np.testing.assert_allclose(run_model(to_onnx(graph), feeds)[output], expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    op=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    counted=st.integers(0, 1),
)
def test_windows_lie_where_they_did(op, size, kernel, strides, pads, counted):
    pads = [min(pad, taps - 1) for pad, taps in zip(pads, kernel * 2, strict=True)]
    counts = {"count_include_pad": counted} if op == "AveragePool" else {}
    shape = (1, 2, *size)
    original = model(pool(op, kernel_shape=kernel, strides=strides, pads=pads, **counts), x=shape)
    assert_computes_the_same(original, shape)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_window_that_would_begin_in_the_padding_is_dropped(op):
    original = model(pool(op, kernel_shape=[1, 1], strides=[2, 2], pads=[0, 0, 0, 0]), x=(1, 1, 2, 2))
    assert from_onnx(original).shape("y") == (1, 1, 1, 1)


def test_what_follows_has_the_shape_that_is_computed():
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    original = model(pool("MaxPool", **window), pool("AveragePool", "y", "z", **window), x=(1, 1, 3, 3))
    assert_computes_the_same(original, (1, 1, 3, 3))


def test_padding_that_counts_is_kept_apart_from_what_windows_reach_beyond():
    original = model(pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1))
    padded, averaged = round_down_pools(original).graph.node
    assert padded.op_type == "Pad"
    stated = {attribute.name: helper.get_attribute_value(attribute) for attribute in averaged.attribute}
    assert stated["pads"] == [0, 0, 0, 1]
    assert not stated.get("count_include_pad")


def test_a_model_without_such_pools_is_handed_back():
    original = model(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]))
    assert round_down_pools(original) is original
