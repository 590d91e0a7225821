from dataclasses import replace

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.image_input import takes_channels_first, takes_floats
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from tests.emit.harness import run_model
from tests.graph.networks import network, numbers, operators

SHAPE = (1, 6, 5, 3)
CONSTANTS = {
    "w": numbers(4, 3, 3, 3),
    "k": numbers(3),
    "rows": numbers(6, 1, 1),
    "s": np.float32(2),
    "bgr": np.array([2, 1, 0]),
    "pads": np.array([0, 1, 2, 0, 0, 1, 1, 0]),
    "flat": np.array([1, 90]),
}
BODIES = {
    "a Transpose": "b = Transpose<perm=[0, 3, 1, 2]>(x)\ny = Conv(b, w)",
    "arithmetic": "a = Sub(x, k)\nc = Div(a, s)\nd = Mul(rows, c)\nb = Transpose<perm=[0, 3, 1, 2]>(d)\ny = Conv(b, w)",
    "channels turned": "a = Gather<axis=3>(x, bgr)\nb = Transpose<perm=[0, 3, 1, 2]>(a)\ny = Conv(b, w)",
    "padding": "a = Pad(x, pads)\nb = Transpose<perm=[0, 3, 1, 2]>(a)\ny = Conv(b, w)",
    "joined": "a = Relu(x)\nc = Concat<axis=3>(x, a)\ny = Transpose<perm=[0, 3, 1, 2]>(c)",
}


def turned(image):
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("text", BODIES.values(), ids=list(BODIES))
def test_the_turn_to_channels_first_is_the_one_that_convolutions_ask_for(text):
    graph = network(text, "y", CONSTANTS, SHAPE)
    after = takes_channels_first(graph)
    image = numbers(*SHAPE)
    assert after.shape("x") == (1, 3, 6, 5)
    np.testing.assert_array_equal(
        run_model(to_onnx(after), {"x": turned(image)})["y"], run_model(to_onnx(graph), {"x": image})["y"]
    )
    assert "Transpose" not in operators(normalise(after))


@pytest.mark.parametrize(
    "text",
    [
        "y = Reshape(x, flat)",
        "y = Relu(x)",
        "y = Transpose<perm=[0, 2, 1, 3]>(x)",
        "a = Relu(x)\nb = Reshape(a, flat)\nc = Reshape(x, flat)\ny = Add(b, c)",
        "a = Transpose<perm=[0, 3, 1, 2]>(x)\nb = ReduceMean(a)\ny = Mul(b, x)",
    ],
)
def test_what_needs_the_channels_last_has_them_last(text):
    graph = network(text, "y", CONSTANTS, SHAPE)
    after = takes_channels_first(graph)
    image = numbers(*SHAPE)
    np.testing.assert_allclose(
        run_model(to_onnx(after), {"x": turned(image)})["y"], run_model(to_onnx(graph), {"x": image})["y"], 1e-6
    )
    assert after.outputs == ("y",)


def of_bytes(text):
    graph = network(text, "y", CONSTANTS, SHAPE)
    values = {v for v in graph.info if v in ("x", "a")}
    byte = np.dtype(np.uint8)
    return replace(graph, info={**graph.info, **{v: replace(graph.info[v], dtype=byte) for v in values}})


def test_integers_that_are_only_moved_before_they_are_cast_are_floats_all_along():
    graph = takes_floats(of_bytes("a = Transpose<perm=[0, 3, 1, 2]>(x)\nb = Cast<to=1>(a)\ny = Conv(b, w)"))
    assert {graph.info[value].dtype.name for value in ("x", "a", "b")} == {"float32"}
    assert operators(normalise(graph)) == ["Transpose", "Conv"]
    assert takes_floats(graph) is graph


def test_arithmetic_of_integers_is_refused():
    with pytest.raises(InputError, match=r"\(Add\) computes in uint8") as caught:
        takes_floats(of_bytes("a = Add(x, x)\nb = Cast<to=1>(a)\ny = Relu(b)"))
    assert "cast to float32" in caught.value.remedy
