from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder
from tests.converters.checkpoints import run


def test_a_network_built_node_by_node_computes_what_it_says() -> None:
    rng = np.random.default_rng(0)
    image, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 4, 4), (2, 3, 1, 1)))
    gamma, beta, mean, head, bias = (rng.standard_normal(n).astype(np.float32) for n in (2, 2, 2, (5, 2), 5))
    variance = np.array([0.5, 2], np.float32)
    build = GraphBuilder("tiny")
    x = build.conv("conv", build.input("image", (1, 3, 4, 4)), weight)
    x = build.silu("act", build.batch_norm("norm", x, gamma, beta, mean, variance, epsilon=0.1))
    x = build.linear("head", build.flatten("flat", build.global_average_pool("pool", x)), head, bias)
    graph = build.graph(x)

    y = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], image[0])
    y = (y - mean[:, None, None]) / np.sqrt(variance + 0.1)[:, None, None] * gamma[:, None, None] + beta[:, None, None]
    y = head @ (y / (1 + np.exp(-y))).mean((1, 2)) + bias
    assert graph.shape("head") == (1, 5)
    np.testing.assert_allclose(run(graph, image)[0], y, atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 7), st.integers(1, 4))
def test_same_padding_makes_ceil_of_size_by_stride_outputs(height: int, width: int, kernel: int, stride: int) -> None:
    build = GraphBuilder("same")
    x = build.input("image", (1, 1, height, width))
    x = build.conv("conv", x, np.ones((1, 1, kernel, kernel), np.float32), stride=stride, padding="same")
    assert build.shape(x) == (1, 1, -(-height // stride), -(-width // stride))
    top, left, bottom, right = build.graph(x).nodes[0].ints("pads")
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1


def test_inputs_that_do_not_fit_are_named_with_their_shapes() -> None:
    build = GraphBuilder("wrong")
    x = build.input("image", (1, 3, 4, 4))
    with pytest.raises(InputError, match=r"node 'conv': its weights take 5 channels, but image is \[1, 3, 4, 4\]"):
        build.conv("conv", x, np.ones((2, 5, 1, 1), np.float32))
    with pytest.raises(InputError, match=r"node 'sum': Add does not fit its inputs \(image \[1, 3, 4, 4\], other \["):
        build.add("sum", x, build.constant("other", np.ones((1, 2, 4, 4), np.float32)))


def test_operators_that_need_the_value_of_a_constant_get_their_shape() -> None:
    build = GraphBuilder("reshape")
    x = build.op("Reshape", "flat", build.input("image", (1, 3, 4, 4)), build.constant("shape", np.array([1, -1])))
    assert build.shape(x) == (1, 48)


def test_a_name_is_given_once() -> None:
    build = GraphBuilder("twice")
    x = build.input("image", (1, 3, 4, 4))
    build.relu("act", x)
    with pytest.raises(ValueError, match="already has a value 'act'"):
        build.relu("act", x)
