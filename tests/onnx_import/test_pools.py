"""Pools that round up are said by pads alone, and compute what ONNX Runtime made of the original."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgefer.errors import InputError
from edgefer.graph.onnx_io import to_onnx
from edgefer.onnx_import import import_onnx
from tests.emit.harness import run_model


def model(*nodes: onnx.NodeProto, x: tuple[int, ...] = (1, 2, 7, 6), opset: int = 18) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "pools",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pool(op: str, x: str = "x", y: str = "y", ceil: int = 1, **attributes) -> onnx.NodeProto:
    return helper.make_node(op, [x], [y], y, ceil_mode=ceil, **attributes)


def assert_computes_the_same(original: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    output = original.graph.output[0].name
    expected = run_model(original, feeds)[output]
    graph = import_onnx(original).graph
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
    assert import_onnx(original).graph.shape("y") == (1, 1, 1, 1)


def test_what_follows_has_the_shape_that_is_computed():
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    original = model(pool("MaxPool", **window), pool("AveragePool", "y", "z", **window), x=(1, 1, 3, 3))
    assert_computes_the_same(original, (1, 1, 3, 3))


def test_padding_that_counts_is_kept_apart_from_what_windows_reach_beyond():
    original = model(pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1))
    padded, averaged = import_onnx(original).graph.nodes
    assert padded.op == "Pad"
    assert averaged.ints("pads") == (0, 0, 0, 1)
    assert not averaged.int("count_include_pad")


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    how=st.sampled_from([(0, 0), (0, 1), (1, 0)]),
)
def test_averages_over_windows_with_gaps(size, kernel, dilations, strides, pads, how):
    counted, ceil = how
    pads = [min(pad, taps - 1) for pad, taps in zip(pads, kernel * 2, strict=True)]
    shape = (1, 2, *size)
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations}
    node = pool("AveragePool", count_include_pad=counted, ceil=ceil, **window)
    assert_computes_the_same(model(node, x=shape, opset=19), shape)


def test_a_count_that_onnx_and_its_runtimes_do_not_agree_on_is_refused_by_name():
    window = {"kernel_shape": [3, 3], "strides": [3, 3], "dilations": [2, 2]}
    node = pool("AveragePool", count_include_pad=1, **window)
    with pytest.raises(InputError, match="AveragePool with dilations, ceil_mode and count_include_pad"):
        import_onnx(model(node, opset=19))


@pytest.mark.parametrize("op", ["GRU", "LSTM", "RNN"])
def test_recurrent_layers_whose_first_axis_is_the_batch_are_said_with_time_first(op):
    gates, rng = {"GRU": 3, "LSTM": 4, "RNN": 1}[op], np.random.default_rng(0)
    weights = {"w": rng.standard_normal((1, 2 * gates, 6)), "r": rng.standard_normal((1, 2 * gates, 2))}
    batch = helper.make_node(op, ["x", "w", "r"], ["all", "y"], hidden_size=2, layout=1)
    network = model(batch, x=(1, 5, 6))
    network.graph.output[0].name = "all"
    network.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    network.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items())
    x = rng.standard_normal((1, 5, 6)).astype(np.float32)
    expected = ReferenceEvaluator(network).run(["all", "y"], {"x": x})
    found = run_model(to_onnx(import_onnx(network).graph), {"x": x})
    for name, array in zip(("all", "y"), expected, strict=True):
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
