from dataclasses import replace

import numpy as np
import pytest

from edgefer.graph.columns import columns
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes.remove_dead import remove_dead
from tests.emit.harness import run_model
from tests.graph.networks import IMAGE, network, numbers

MAP = "a = Conv<kernel_shape=[3, 3]>(x, w, w_bias)\np = GlobalAveragePool(a)\nf = Flatten(p)\n"
CONVOLUTION = "c = Conv<kernel_shape=[3, 3]>(x, w)\nd = Conv(c, point)\n"
WEIGHTS = {
    "w": numbers(6, 3, 3, 3),
    "w_bias": numbers(6, seed=1),
    "v": numbers(6, 10, seed=2),
    "v_turned": numbers(10, 6, seed=3),
    "v_bias": numbers(10, seed=4),
    "row": numbers(1, 10, seed=5),
    "one": numbers(1, 1, seed=6),
    "u": numbers(6, 4, seed=7),
    "point": numbers(10, 6, 1, 1, seed=8),
    "depthwise": numbers(10, 1, 1, 1, seed=9),
    "slope": np.abs(numbers(10, 1, 1, seed=10)),
    "from": np.array([2]),
    "to": np.array([10]),
    "axis": np.array([-1]),
    "sizes": np.array([3, 7]),
}
LAYERS = {
    "a Gemm": MAP + "y = Gemm(f, v, v_bias)",
    "a Gemm with weights by rows": MAP + "y = Gemm<transB=1>(f, v_turned)",
    "constants for each column behind": MAP + "g = Gemm(f, v, v_bias)\nm = Mul(g, row)\nn = Add(m, one)\ny = Tanh(n)",
    "two ways in": MAP + "g = Gemm(f, v)\nh = Gemm<transB=1>(f, v_turned)\ns = Sigmoid(h)\ny = Mul(g, s)",
    "a convolution as head": CONVOLUTION + "p = GlobalAveragePool(d)\ny = Flatten(p)",
    "a depthwise convolution behind": (
        CONVOLUTION + "e = Conv<group=10>(d, depthwise)\nr = PRelu(e, slope)\np = GlobalAveragePool(r)\ny = Flatten(p)"
    ),
    "a Concat": MAP + "g = Gemm(f, u)\ny = Concat<axis=-1>(g, f)",
    "columns of columns": MAP
    + "g = Gemm(f, v)\ns = Slice(g, from, to, axis)\nh = Flatten(p)\nt, k = Split<axis=1>(h, two)\n"
    "y = Concat<axis=1>(s, t)",
    "a Split": MAP + "g = Gemm(f, v)\nt, k = Split<axis=1>(g, sizes)\ny = Concat<axis=1>(k, t)",
}


def layer(name):
    return network(LAYERS[name], "y", {**WEIGHTS, "two": np.array([2, 4])})


def returned(graph):
    (value,) = run_model(to_onnx(graph), {"x": numbers(*IMAGE)}).values()
    return value


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bounds", [(0, 3), (1, 7), (7, 10), (4, 5)])
def test_columns_by_themselves_are_those_of_the_whole(name, bounds):
    graph = layer(name)
    found = columns(graph, "y", *bounds)
    assert found is not None
    after = remove_dead(replace(found[0], outputs=(found[1],)))
    assert not {"Slice", "Split"} & {node.op for node in after.nodes}
    assert after.shape(found[1]) == (1, bounds[1] - bounds[0])
    np.testing.assert_allclose(returned(after), returned(graph)[:, slice(*bounds)], 1e-4, 1e-5)


def test_a_network_whose_columns_nothing_joined_is_returned_as_it_is():
    graph = layer("constants for each column behind")
    assert columns(graph, "y", 0, 10) == (graph, "y")


def test_what_a_network_slices_itself_is_made_by_itself():
    text = MAP + "g = Gemm(f, v, v_bias)\ns = Slice(g, from, to, axis)\ny = Tanh(s)"
    graph = network(text, "y", WEIGHTS)
    found = columns(graph, "y", 0, 8)
    assert found is not None
    after = remove_dead(replace(found[0], outputs=(found[1],)))
    assert [after.shape(node.output) for node in after.nodes if node.op == "Gemm"] == [(1, 8)]
    np.testing.assert_allclose(returned(after), returned(graph), 1e-4, 1e-5)


@pytest.mark.parametrize(
    "line",
    ["y = Softmax(g)", "y = Concat<axis=1>(row, g)", "b = Abs(g)\ny = Mul(g, b)", "y = Slice(g, zero, to, axis, two)"],
)
def test_columns_that_only_a_slice_can_tell_apart_are_not_made(line):
    constants = {**WEIGHTS, "zero": np.array([0]), "two": np.array([2])}
    graph = network(MAP + "g = Gemm(f, v)\n" + line, "y", constants)
    assert columns(graph, "y", 1, 4) is None


def test_all_of_a_map_is_left_alone_whatever_made_it():
    graph = network(
        "a = Conv<kernel_shape=[3, 3]>(x, w)\nb, c = Split<axis=1>(a, three)\ny = Concat<axis=1>(c, b)",
        "y",
        {**WEIGHTS, "three": np.array([3, 3])},
    )
    assert columns(graph, "y", 0, 6) == (graph, "y")
