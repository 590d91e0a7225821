import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.graph.passes import normalise
from edgefer.graph.passes.resolve_padding import resolve_padding, same_pads
from tests.graph.networks import assert_same_outputs, network, numbers, operators


def pads(top, left, bottom, right, channels=0):
    return {"pads": np.array([0, channels, top, left, 0, 0, bottom, right])}


@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
    op=st.sampled_from(["Conv", "MaxPool", "AveragePool"]),
)
def test_stated_pads_compute_what_automatic_ones_did(size, kernel, strides, mode, op):
    strides = tuple(map(min, strides, kernel))  # ONNX Runtime refuses SAME where strides skip pixels
    weights = ", w" if op == "Conv" else ""
    window = f"kernel_shape={list(kernel)}, strides={list(strides)}"
    text = f'y = {op}<auto_pad="{mode}", {window}>(x{weights})'
    graph = network(text, "y", {"w": numbers(2, 3, *kernel)} if weights else {}, x=(1, 3, *size))
    after = resolve_padding(graph)
    assert "auto_pad" not in after.nodes[0].attributes
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(("mode", "expected"), [("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0))])
def test_the_odd_pixel_goes_after_in_upper_and_before_in_lower(mode, expected):
    text = f'y = Conv<auto_pad="{mode}", strides=[2, 2]>(x, w)'
    after = resolve_padding(network(text, "y", {"w": numbers(2, 3, 3, 3)}, x=(1, 3, 6, 6)))
    assert after.nodes[0].ints("pads") == expected


@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_makes_as_many_outputs_as_strides_fit(size, kernel, stride, dilation):
    before, after = same_pads(size, kernel, stride, dilation)
    assert 0 <= after - before <= 1
    outputs = -(-size // stride)
    reach = (outputs - 1) * stride + (kernel - 1) * dilation + 1
    assert before + after == max(reach - size, 0)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("a = Pad(x, pads)\ny = Conv(a, w)", pads(0, 1, 2, 3)),
        ("a = Pad(x, pads, zero)\ny = Conv(a, w)", {**pads(1, 1, 1, 1), "zero": np.float32(0)}),
        ("a = Pad(x, pads)\ny = Conv<pads=[1, 0, 1, 0], strides=[2, 2]>(a, w)", pads(0, 1, 0, 1)),
        ('a = Pad(x, pads)\ny = Conv<auto_pad="SAME_UPPER", strides=[2, 2]>(a, w)', pads(1, 0, 1, 0)),
    ],
)
def test_zeros_around_an_image_become_the_convolutions_own(text, constants):
    graph = network(text, "y", {"w": numbers(4, 3, 3, 3), **constants}, x=(1, 3, 6, 7))
    after = normalise(graph)
    assert operators(after) == ["Conv"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ('a = Pad<mode="reflect">(x, pads)\ny = Conv(a, w)', pads(1, 1, 1, 1)),
        ('a = Pad<mode="edge">(x, pads)\ny = Conv(a, w)', pads(1, 1, 1, 1)),
        ("a = Pad(x, pads, one)\ny = Conv(a, w)", {**pads(1, 1, 1, 1), "one": np.float32(1)}),
        ("a = Pad(x, pads)\ny = Conv(a, v)", {**pads(1, 1, 1, 1, channels=1), "v": numbers(4, 4, 3, 3)}),
        ("a = Pad(x, pads)\ny = Conv(a, w)", pads(-1, 0, 1, 0)),
        ("a = Pad(x, pads)\ny = MaxPool<kernel_shape=[2, 2]>(a)", pads(1, 1, 1, 1)),
        ("a = Pad(x, pads, , axes)\ny = Conv(a, w)", {"pads": np.array([1, 1, 1, 1]), "axes": np.array([2, 3])}),
    ],
    ids=["reflect", "edge", "another value", "channels", "cropping", "pooling", "axes stated"],
)
def test_other_padding_stays(text, constants):
    graph = network(text, "y", {"w": numbers(4, 3, 3, 3), **constants})
    assert resolve_padding(graph) is graph


def test_padding_that_others_read_too_stays_for_them():
    graph = network(
        "a = Pad(x, pads)\ny = Conv(a, w)\nz = Neg(a)", "y z", {"w": numbers(4, 3, 3, 3), **pads(1, 1, 1, 1)}
    )
    after = normalise(graph)
    assert operators(after) == ["Pad", "Conv", "Neg"]
    assert after.named["Conv_1"].inputs[0] == "x"
    assert_same_outputs(graph, after)


POOL = "MaxPool<kernel_shape=[3, 3], strides=[2, 2]>"


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        (f"a = Pad(x, pads, fill)\ny = {POOL}(a)", {"fill": np.float32(-np.inf)}),
        (f"a = Pad(x, pads, fill)\ny = {POOL}(a)", {"fill": np.float32(-1e9)}),
        (f"r = Relu(x)\na = Pad(r, pads)\ny = {POOL}(a)", {}),
    ],
    ids=["infinite", "large", "zeros below what cannot be negative"],
)
def test_what_never_is_largest_becomes_the_pools_own_padding(text, constants):
    graph = network(text, "y", {**pads(1, 1, 1, 1), **constants}, x=(1, 3, 6, 7))
    after = normalise(graph)
    assert operators(after)[-1] == "MaxPool"
    assert "Pad" not in operators(after)
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("amounts", [pads(3, 0, 0, 0), pads(1, 0, 1, 0, channels=1)], ids=["too wide", "channels"])
def test_padding_that_a_pool_cannot_hold_stays(amounts):
    graph = network(f"a = Pad(x, pads, low)\ny = {POOL}(a)", "y", {**amounts, "low": np.float32(-1e9)}, x=(1, 3, 6, 7))
    assert resolve_padding(graph) is graph
