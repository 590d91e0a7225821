import numpy as np
import pytest

from edgefer.graph.passes import normalise
from edgefer.graph.passes.separate_biases import separate_biases
from tests.graph.networks import assert_same_outputs, network, numbers

WEIGHTS = {"w": numbers(3, 3, 1, 1), "v": numbers(3, 3, 1, 1, seed=1), "b": numbers(3, seed=2)}


def test_layers_that_share_a_bias_get_one_each():
    graph = network("a = Conv(x, w, b)\nc = Conv(a, v, b)\ny = Conv(c, w, b)", "y", WEIGHTS)
    after = separate_biases(graph)
    biases = [node.inputs[2] for node in after.nodes]
    assert len(set(biases)) == 3
    assert biases[-1] == "b"
    assert [node.inputs[1] for node in after.nodes] == ["w", "v", "w"]
    assert_same_outputs(graph, after)


def test_a_bias_that_other_operators_read_is_copied_for_the_layer():
    weights = {"w": numbers(5, 3), "b": numbers(5)}
    graph = network("f = Gemm<transB=1>(x, w, b)\ny = Mul(f, b)", "y", weights, x=(1, 3))
    after = separate_biases(graph)
    assert after.nodes[0].inputs[2] != "b"
    assert after.nodes[1].inputs[1] == "b"
    assert_same_outputs(graph, after)


def test_layers_with_biases_of_their_own_stay():
    graph = network("a = Conv(x, w, b)\ny = Relu(a)", "y", WEIGHTS)
    assert separate_biases(graph) is graph


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("Conv(x, w)", (4, 3, 1, 1)),
        ("Gemm<transB=1>(x, w)", (4, 3)),
        ("Gemm(x, w)", (3, 4)),
    ],
)
def test_a_layer_without_a_bias_gets_zeros(layer, shape):
    graph = network(f"y = {layer}", "y", {"w": numbers(*shape)}, x=(1, 3, 5, 5)[: len(shape)])
    after = separate_biases(graph)
    np.testing.assert_array_equal(after.constants[after.producers["y"].inputs[2]], np.zeros(4))
    assert separate_biases(after) is after
    assert_same_outputs(graph, after)


def test_normalising_separates_biases_once():
    graph = normalise(network("a = Conv(x, w, b)\ny = Conv(a, v, b)", "y", WEIGHTS))
    assert len({node.inputs[2] for node in graph.nodes}) == 2
    assert normalise(graph) is graph
