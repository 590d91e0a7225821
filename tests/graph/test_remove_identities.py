from dataclasses import replace

import numpy as np
import pytest

from edgefer.graph.passes.remove_identities import remove_identities
from tests.graph.networks import assert_same_outputs, network, operators

CONSTANTS = {
    "shape": np.array([1, 3, 5, 5]),
    "other_shape": np.array([1, 5, 3, 5]),
    "wide": np.array([2, 3, 5, 5]),
    "no_pads": np.zeros(8, np.int64),
    "shift": np.array([0, 0, 1, 0, 0, 0, -1, 0]),
    "zero": np.array([0]),
    "five": np.array([5]),
    "last": np.array([-1]),
    "before_first": np.array([-6]),
    "height": np.array([2]),
    "ones": np.ones((1, 3, 1, 1), np.float32),
    "twos": np.full((1, 3, 1, 1), 2, np.float32),
    "ones_of_rank_five": np.ones((1, 1, 1, 1, 1), np.float32),
    "nothing": np.zeros((), np.float32),
}


@pytest.mark.parametrize(
    "idle",
    [
        "Identity(x)",
        "Dropout(x)",
        "Cast<to=1>(x)",
        "Concat<axis=1>(x)",
        "Reshape(x, shape)",
        "Flatten<axis=1>(x)",
        "Transpose<perm=[0, 1, 2, 3]>(x)",
        'Pad<mode="reflect">(x, no_pads)',
        "Slice(x, zero, five, height)",
        "Mul(x, ones)",
        "Mul(ones, x)",
        "Div(x, ones)",
        "Add(nothing, x)",
        "Sub(x, nothing)",
    ],
)
def test_a_node_that_hands_on_its_input_is_removed(idle):
    flat = idle.startswith("Flatten")
    graph = network(f"a = {idle}\ny = Relu(a)", "y", CONSTANTS, x=(1, 5) if flat else (1, 3, 5, 5))
    after = remove_identities(graph)
    assert operators(after) == ["Relu"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    "needed",
    [
        "Cast<to=7>(x)",
        "Reshape(x, other_shape)",
        "Transpose<perm=[0, 1, 3, 2]>(x)",
        "Pad(x, shift)",
        "Slice(x, last, before_first, height, last)",
        "Mul(x, twos)",
        "Mul(x, ones_of_rank_five)",
        "Sub(nothing, x)",
        "Div(ones, x)",
        "Expand(x, wide)",
    ],
)
def test_a_node_that_changes_values_order_or_shape_stays(needed):
    graph = network(f"a = {needed}\ny = Neg(a)\nz = Cast<to=1>(y)", "z", CONSTANTS)
    after = remove_identities(graph)
    assert operators(after)[:2] == [needed.split("(")[0].split("<")[0], "Neg"]
    assert_same_outputs(graph, after)


def test_a_chain_of_identities_goes_as_a_whole():
    graph = network("a = Identity(x)\nb = Dropout(a)\nc = Identity(b)\ny = Relu(c)", "y")
    after = remove_identities(graph)
    assert [(node.op, node.inputs) for node in after.nodes] == [("Relu", ("x",))]
    assert_same_outputs(graph, after)


def test_an_identity_that_is_a_graph_output_hands_its_name_to_what_it_copied():
    graph = network("a = Relu(x)\ny = Identity(a)\nz = Neg(a)", "y z")
    after = remove_identities(graph)
    assert operators(after) == ["Relu", "Neg"]
    assert_same_outputs(graph, after)


def test_identities_stay_where_a_graph_output_needs_a_name_of_its_own():
    graph = network("a = Relu(x)\nb = Identity(a)\nc = Identity(b)\nd = Identity(x)", "a c d")
    after = remove_identities(graph)
    assert operators(after) == ["Relu", "Identity", "Identity"]
    assert_same_outputs(graph, after)


def test_a_dropout_whose_mask_is_read_stays():
    graph = network("a, mask = Dropout(x)\nb = Cast<to=1>(mask)\ny = Add(a, b)", "y")
    assert remove_identities(graph) is graph


def test_adding_nothing_stays_where_the_sum_is_clipped():
    graph = network("y = Add(x, nothing)", "y", CONSTANTS)
    clipped = graph.with_nodes([replace(graph.nodes[0], activation="Relu")])
    assert remove_identities(clipped) is clipped


def test_a_network_without_identities_is_returned_as_it_is():
    graph = network("a = Relu(x)\ny = Mul(a, twos)", "y", CONSTANTS)
    assert remove_identities(graph) is graph
