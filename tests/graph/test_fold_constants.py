import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.passes import normalise
from edgefer.graph.passes.fold_constants import fold_constants
from tests.graph.networks import assert_same_outputs, network, numbers, operators


def test_what_depends_on_constants_only_is_computed_once():
    text = "a = Mul(w, w)\nb = Transpose<perm=[1, 0]>(a)\ny = MatMul(x, b)"
    graph = network(text, "y", {"w": numbers(4, 3)}, x=(1, 3))
    after = fold_constants(graph)
    assert operators(after) == ["MatMul"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("query", ["Shape(x)", "Shape<start=1>(x)", "Shape<start=-3, end=-1>(x)", "Shape<end=2>(x)"])
def test_shape_queries_are_answered(query):
    graph = network(f"s = {query}\nf = Cast<to=1>(s)\nm = ReduceMean(f)\ny = Add(x, m)", "y", x=(1, 3, 4, 5))
    after = fold_constants(graph)
    assert operators(after) == ["Add"]
    assert_same_outputs(graph, after)


def test_the_reshape_that_torch_exports_for_a_flatten_becomes_static():
    text = """s = Shape(x)
        n = Gather<axis=0>(s, zero)
        n1 = Unsqueeze(n, axis)
        shape = Concat<axis=0>(n1, rest)
        y = Reshape(x, shape)"""
    graph = network(text, "y", {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])})
    after = normalise(graph)
    assert operators(after) == ["Reshape"]
    np.testing.assert_array_equal(after.constants[after.nodes[0].inputs[1]], [1, -1])
    assert_same_outputs(graph, after)


def test_graph_outputs_stay_computed():
    graph = network("y = Neg(w)\nz = Neg(x)", "y z", {"w": numbers(2)})
    assert fold_constants(graph) is graph
    assert_same_outputs(graph, normalise(graph))


def test_a_constant_that_would_unfold_to_gigabytes_is_refused_by_name():
    graph = network("big = Expand(w, shape)\ny = ReduceMax(big)", "y", {"w": numbers(1), "shape": np.array([10**9])})
    with pytest.raises(InputError, match=r"'Expand_0' \(Expand\) would make a constant of 4,000,000,000 bytes"):
        fold_constants(graph)


def test_a_network_with_nothing_to_fold_is_returned_as_it_is():
    graph = network("y = MatMul(x, w)", "y", {"w": numbers(3, 4)}, x=(1, 3))
    assert fold_constants(graph) is graph
