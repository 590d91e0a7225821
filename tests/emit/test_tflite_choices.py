"""Comparisons, choices and what picks by constant indices, as ONNX Runtime computes them."""

from __future__ import annotations

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from edgefer.runtime.delegation import undelegated
from tests.emit.harness import operators, run_onnx, run_tflite, sample
from tests.graph.networks import network

CONSTANTS = {
    "zero": np.float32(0),
    "one": np.float32(1),
    "two": np.float32(2),
    "two_places": np.asarray(2),
    "last_two": np.asarray([-1, -1]),
    "before_first": np.asarray([-100, -100]),
    "both": np.asarray([2, 3]),
    "backwards": np.asarray([-1, -1]),
    "fourth": np.asarray([3]),
    "first": np.asarray([0]),
    "last_axis": np.asarray([3]),
    "backwards_once": np.asarray([-1]),
    "zero_th": np.asarray([0]),
    "fourth_end": np.asarray([4]),
    "side_by_side": np.asarray([[0, 2], [1, 3]]),
    "divisors": np.asarray([3, -3, 2, -2, 5]),
    "low": np.asarray(-1),
    "high": np.asarray(np.iinfo(np.int64).max),
    "none": np.asarray(0, np.int32),
    "second": np.asarray(1),
    "k": np.asarray([2]),
    "depth": np.asarray(7),
    "onoff": np.asarray([-1, 2], np.float32),
    "some": np.random.default_rng(1).integers(-3, 3, (1, 3, 2, 5)),
    "parts": np.asarray([[0, 2], [0, -1], [0, 0]]),
    "updates": np.arange(75, dtype=np.float32).reshape(3, 5, 5),
    "given": np.arange(30, dtype=np.float32).reshape(1, 3, 2, 5),
    "rows": np.asarray([[3, 1], [0, 4]]),
    "lengths": np.asarray([2]),
    "cube": np.random.default_rng(2).standard_normal((2, 1, 2, 3, 2)).astype(np.float32),
    "deep": np.asarray([1, 1, 3, 5, 5]),
    "grid": np.random.default_rng(3).uniform(-1.6, 1.6, (1, 4, 3, 2)).astype(np.float32),
    "sizes": np.asarray([3, 7]),
}

CASES = {
    "a chosen branch": "c = Greater(x, zero)\na = Mul(x, two)\ny = Where(c, a, x)",
    "conditions of conditions": (
        "a = LessOrEqual(x, zero)\nb = Less(x, one)\nc = Xor(a, b)\nd = Not(c)\ne = Or(d, a)\nf = And(e, b)\n"
        "y = Cast<to=1>(f)"
    ),
    "places of extremes": "a = ArgMax<axis=1>(x)\nb = ArgMin<axis=1, select_last_index=1>(x)\nc = Add(a, b)\n"
    "y = Cast<to=1>(c)",
    "hardmax": "y = Hardmax<axis=2>(x)",
    "one hot": "a = ArgMax<axis=1, keepdims=0>(x)\ny = OneHot<axis=1>(a, depth, onoff)",
    "the largest": "y, i = TopK<axis=1>(x, k)",
    "the smallest, and where": "v, i = TopK<axis=3, largest=0>(x, k)\ny = Cast<to=1>(i)",
    "elements": "y = GatherElements<axis=2>(x, some)",
    "parts": "y = GatherND(x, parts)",
    "rows of rows": "y = Gather<axis=2>(x, rows)",
    "placed elements": "y = ScatterElements<axis=2>(x, some, given)",
    "backwards": "y = ReverseSequence<batch_axis=0, time_axis=1>(x, lengths)",
    "a product of all": "y = ReduceProd<keepdims=0>(x)",
    "a pool with gaps": "y = MaxPool<kernel_shape=[2, 3], dilations=[2, 1], pads=[1, 1, 0, 1], strides=[1, 2]>(x)",
    "a pool of powers": "y = LpPool<kernel_shape=[2, 2], pads=[1, 0, 0, 1], p=3>(x)",
    "in depth": "a = Reshape(x, deep)\nb = Conv<pads=[1, 1, 0, 0, 1, 1]>(a, cube)\n"
    "c = MaxPool<kernel_shape=[2, 2, 2]>(b)\ny = AveragePool<kernel_shape=[2, 1, 2], pads=[1, 0, 0, 0, 0, 1]>(c)",
    "nearest places": 'y = GridSample<mode="nearest", padding_mode="reflection">(x, grid)',
    "cubic places": 'y = GridSample<mode="bicubic">(x, grid)',
    "folded places": 'y = GridSample<mode="bilinear", padding_mode="reflection", align_corners=1>(x, grid)',
    "local response": "y = LRN<size=3, alpha=0.3>(x)",
    "angles": "a = Atan(x)\nb = Sinh(x)\nc = Asinh(x)\nd = Mul(a, b)\ny = Add(c, d)",
    "remainders": "y = Mod<fmod=1>(x, one)",
    "remainders of integers": "a = ArgMax<axis=2>(x)\nb = Sub(a, two_places)\nc = Mod(b, divisors)\ny = Cast<to=1>(c)",
    "integers within bounds": "a = Mul(x, two)\nb = Cast<to=7>(a)\nc = Clip(b, low, high)\ny = Cast<to=1>(c)",
    "integers above nothing": "a = Mul(x, two)\nb = Cast<to=6>(a)\nc = Clip(b, none)\ny = Cast<to=1>(c)",
    "a triangle": "y = Trilu(x, second)",
    "the other triangle": "a = Tanh(x)\nb = Trilu<upper=0>(a)\ny = Add(b, x)",
    "every other place": "a = MaxPool<kernel_shape=[1, 1], strides=[2, 2]>(x)\n"
    "y = AveragePool<kernel_shape=[1, 1], strides=[1, 3]>(a)",
    "another way round": "y = Slice(x, last_two, before_first, both, backwards)",
    "a part another way round": "a = Slice(x, fourth, first, last_axis, backwards_once)\ny = Mul(a, two)",
    "powers of a number": "y = Pow(two, x)",
    "windows side by side": "a = Slice(x, zero_th, fourth_end, last_axis)\ny = Gather<axis=3>(a, side_by_side)",
    "where the largest is": "a = ArgMax<axis=1, keepdims=0>(x)\nb = OneHot<axis=1>(a, depth, onoff)\n"
    "v, i = TopK<axis=2>(b, k)\ny = Identity(v)",
    "what is no number": "a = IsNaN(x)\nb = IsInf(x)\nc = Or(a, b)\ny = Cast<to=1>(c)",
    "middles": "y = CenterCropPad<axes=[2, 3]>(x, sizes)",
}


@pytest.mark.parametrize("name", CASES)
def test_float_equals_onnx_runtime(name: str) -> None:
    graph = network(CASES[name], "y", CONSTANTS, x=(1, 3, 5, 5))
    feeds = sample(graph)
    found = run_tflite(emit_tflite(normalise(graph), Plan()), feeds)["y"]
    expected = run_onnx(graph, feeds)["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["powers of a number", "windows side by side", "a triangle", "every other place"])
def test_restatements_are_in_fast_kernels_alone(name: str) -> None:
    graph = network(CASES[name], "y", CONSTANTS, x=(1, 3, 5, 5))
    assert undelegated(emit_tflite(normalise(graph), Plan())) == []


def test_the_root_of_what_a_generalised_mean_averages_is_in_fast_kernels() -> None:
    text = "a = Clip(x, least)\nb = Pow(a, three)\nc = GlobalAveragePool(b)\ny = Pow(c, third)"
    numbers = {"least": np.float32(1e-6), "three": np.float32(3), "third": np.float32(1 / 3)}
    graph = network(text, "y", numbers)
    file, feeds = emit_tflite(normalise(graph), Plan()), sample(graph)
    assert undelegated(file) == []
    np.testing.assert_allclose(run_tflite(file, feeds)["y"], run_onnx(graph, feeds)["y"], rtol=1e-5)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_one_operator_of_fast_kernels(approximate: str) -> None:
    text = {
        "none": "a = Div(x, root)\nb = Erf(a)\nc = Add(b, one)\nd = Mul(x, c)\ny = Mul(d, half)",
        "tanh": "a = Mul(x, x)\nb = Mul(a, x)\nc = Mul(b, cubic)\nd = Add(x, c)\ne = Mul(d, share)\nf = Tanh(e)\n"
        "g = Add(f, one)\nh = Mul(x, g)\ny = Mul(h, half)",
    }
    numbers = {"root": 2**0.5, "one": 1, "half": 0.5, "cubic": 0.044715, "share": (2 / np.pi) ** 0.5}
    graph = network(text[approximate], "y", {name: np.float32(number) for name, number in numbers.items()})
    file, feeds = emit_tflite(normalise(graph), Plan()), sample(graph, scale=3)
    assert operators(file) == ["GELU"]
    assert undelegated(file) == []
    np.testing.assert_allclose(run_tflite(file, feeds)["y"], run_onnx(graph, feeds)["y"], atol=2e-3)


def test_a_long_short_term_memory_may_look_at_its_cell_and_limit_its_gates() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((1, 16, 5)).astype(np.float32),
        "r": rng.standard_normal((1, 16, 4)).astype(np.float32),
        "b": rng.standard_normal((1, 32)).astype(np.float32),
        "p": rng.standard_normal((1, 12)).astype(np.float32),
    }
    graph = network("a, y = LSTM<hidden_size=4, clip=0.7>(x, w, r, b, , , , p)", "y", constants, x=(6, 1, 5))
    feeds = sample(graph)
    found = run_tflite(emit_tflite(normalise(graph), Plan()), feeds)["y"]
    np.testing.assert_allclose(found, run_onnx(graph, feeds)["y"], rtol=1e-4, atol=1e-5)
