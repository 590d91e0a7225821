"""Elements picked or placed by computed indices are found by products with vectors; ONNX Runtime and LiteRT agree."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.graph.passes.decompose import decompose
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import network, numbers, operators

CONSTANTS = {
    "table": numbers(5, 7),
    "wide": numbers(3, 5, 4),
    "endless": np.full((5, 7), -np.inf, np.float32),
    "names": np.arange(5),
    "k": np.array([2]),
    "last": np.array([-1]),
    "row": np.array([1, 75]),
    "rows": np.array([15, 5]),
    "parts": np.array([1, 15, 5]),
    "first": np.array([0]),
    "second": np.array([1]),
    "zeros": np.zeros((1, 2, 1), np.int64),
    "back": np.array(-5),
    "depth": np.array(5),
    "onoff": np.array([0, 1]),
    "twofold": np.array([-3, 2]),
    "halves": np.array([0.5, 2], np.float32),
}

PICKED = {
    "a row of a table": "i = ArgMax<axis=2, keepdims=0>(x)\ny = Gather(table, i)",
    "counted from the end": "a = ArgMax<axis=2, keepdims=0>(x)\ni = Add(a, back)\ny = Gather(table, i)",
    "one of a table": "r = Reshape(x, row)\nv, i = TopK<axis=1>(r, k)\ny = Gather(entries, i)",
    "columns of a table": "i = ArgMax<axis=2, keepdims=0>(x)\ny = Gather<axis=1>(wide, i)",
    "rows of what is computed": "r = Reshape(x, rows)\nm = ReduceMax(r, last)\nt = Squeeze(m, last)\n"
    "v, i = TopK<axis=0>(t, k)\nw = Reshape(x, parts)\ny = Gather<axis=1>(w, i)",
    "columns of what is computed": "m = ReduceMax<keepdims=0>(x, first)\ni = ArgMax<axis=1, keepdims=0>(m)\n"
    "y = Gather<axis=3>(x, i)",
    "elements along an axis": "v, i = TopK<axis=2>(x, k)\ny = GatherElements<axis=2>(x, i)",
    "elements of the last axis": "v, i = TopK<axis=3>(x, k)\ny = GatherElements<axis=3>(x, i)",
    "the same elements everywhere": "m = ReduceMean(x, second)\nn = ReduceMean(m, last)\n"
    "v, i = TopK<axis=2>(n, k)\ne = Expand(i, everywhere)\ny = GatherElements<axis=2>(x, e)",
    "the same elements of rows": "m = ReduceMean(x, last)\nv, i = TopK<axis=2>(m, k)\n"
    "e = Expand(i, everywhere)\ny = GatherElements<axis=2>(x, e)",
    "elements by indices in bounds": "m = ReduceMean(x, second)\nn = ReduceMean(m, last)\n"
    "v, i = TopK<axis=2>(n, k)\ne = Expand(i, everywhere)\nj = Mod(e, depth)\ny = GatherElements<axis=2>(x, j)",
    "parts": "r = Reshape(x, parts)\nm = ReduceMean<keepdims=0>(r, last)\nv, i = TopK<axis=1>(m, k)\n"
    "j = Unsqueeze(i, last)\nc = Concat<axis=2>(zeros, j)\ny = GatherND(r, c)",
    "parts of a batch of one": "r = Reshape(x, parts)\nm = ReduceMean<keepdims=0>(r, last)\nv, i = TopK<axis=1>(m, k)\n"
    "j = Unsqueeze(i, last)\ny = GatherND<batch_dims=1>(r, j)",
    "elements of two axes": "a = ArgMax<axis=2, keepdims=0>(x)\nb = ArgMin<axis=2, keepdims=0>(x)\n"
    "i = Unsqueeze(a, last)\nj = Unsqueeze(b, last)\nc = Concat<axis=3>(i, j)\nr = Reshape(x, rows_of_columns)\n"
    "y = GatherND(r, c)",
    "placed among zeros": "v, i = TopK<axis=2>(x, k)\ny = ScatterElements<axis=2>(nothing, i, v)",
    "placed among numbers": "v, i = TopK<axis=3>(x, k)\nt = Tanh(x)\ny = ScatterElements<axis=3>(t, i, v)",
    "the largest alone": "v, i = TopK<axis=1>(x, k)\ns = ScatterElements<axis=1>(masked, i, v)\ny = Softmax<axis=1>(s)",
    "a one among integers": "i = ArgMax<axis=1, keepdims=0>(x)\no = OneHot(i, depth, onoff)\n"
    "c = Cast<to=1>(o)\ny = MatMul(c, table)",
    "integers among integers": "i = ArgMax<axis=1, keepdims=0>(x)\no = OneHot<axis=1>(i, depth, twofold)\n"
    "p = Add(o, back)\ny = Cast<to=1>(p)",
}
SHAPES = {
    "entries": numbers(75, seed=4),
    "everywhere": np.array([1, 3, 2, 5]),
    "rows_of_columns": np.array([5, 5, 3]),
    "nothing": np.zeros((1, 3, 5, 5), np.float32),
    "masked": np.full((1, 3, 5, 5), -np.inf, np.float32),
}


@pytest.mark.parametrize("name", PICKED)
def test_what_is_picked_or_placed_is_what_onnx_runtime_picks_or_places(name):
    graph = network(PICKED[name], "y", {**CONSTANTS, **SHAPES})
    feeds = sample(graph)
    after = normalise(graph)
    expected = run_onnx(graph, feeds)["y"]
    assert not {"Gather", "GatherElements", "GatherND", "ScatterElements"} & {
        node.op for node in after.nodes if node.input(1) and not after.is_constant(node.input(1))
    }
    np.testing.assert_allclose(run_onnx(after, feeds)["y"], expected, rtol=1e-6)
    np.testing.assert_allclose(run_tflite(emit_tflite(after, Plan()), feeds)["y"], expected, rtol=1e-5)


def test_a_one_that_was_an_integer_for_a_while_stays_a_real_number():
    graph = network(PICKED["a one among integers"], "y", CONSTANTS)
    assert operators(normalise(graph))[:2] == ["ArgMax", "OneHot"]
    assert "Cast" not in operators(normalise(graph))


def test_numbers_that_integers_cannot_hold_are_rounded_as_before():
    text = "i = ArgMax<axis=1, keepdims=0>(x)\no = OneHot(i, depth, halves)\nc = Cast<to=7>(o)\ny = Cast<to=1>(c)"
    graph = network(text, "y", CONSTANTS)
    assert operators(normalise(graph)) == ["ArgMax", "OneHot", "Cast", "Cast"]


@pytest.mark.parametrize(
    "text",
    [
        "y = Gather(endless, i)",
        "g = Gather(names, i)\ny = Cast<to=1>(g)",
        "y = Gather(long, i)",
        'm = ReduceMax(x, last)\ny = ScatterElements<axis=2, reduction="max">(x, i, m)',
    ],
)
def test_what_products_would_change_or_take_too_long_for_is_left_alone(text):
    long = np.zeros((2**17, 1), np.float32)
    graph = network(f"i = ArgMax<axis=2, keepdims=0>(x)\n{text}", "y", {**CONSTANTS, "long": long})
    assert decompose(graph) is graph


def test_a_remainder_that_changes_places_is_left_alone():
    text = "i = ArgMax<axis=2>(x)\nj = Mod(i, four)\ny = Cast<to=1>(j)"
    graph = network(text, "y", {"four": np.array(4)})
    assert decompose(graph) is graph


@pytest.mark.parametrize("batch_dims", [0, 1, 2])
def test_parts_by_constant_indices_of_each_in_a_batch(batch_dims):
    shape = {0: (2, 2), 1: (2, 4, 2), 2: (2, 3, 1)}[batch_dims]
    constants = {"i": np.random.default_rng(0).integers(-2, 2, shape), "s": np.array([2, 3, 4, 5])}
    graph = network(f"r = Reshape(x, s)\ny = GatherND<batch_dims={batch_dims}>(r, i)", "y", constants, (1, 6, 4, 5))
    feeds = sample(graph)
    after = normalise(graph)
    expected = run_onnx(graph, feeds)["y"]
    np.testing.assert_array_equal(run_onnx(after, feeds)["y"], expected)
    np.testing.assert_array_equal(run_tflite(emit_tflite(after, Plan()), feeds)["y"], expected)
