from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from edgefer.graph.passes.remove_identities import remove_identities
from tests.emit.harness import graph_of
from tests.graph.comparing import assert_same_outputs, operators

X = {"x": (1, 3, 4, 4)}


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


@pytest.mark.parametrize(
    "idle",
    [
        node("Identity", "x", "a"),
        node("Dropout", "x", "a"),
        node("Cast", "x", "a", to=1),
        node("Concat", "x", "a", axis=1),
        node("Reshape", "x shape", "a"),
        node("Transpose", "x", "a", perm=[0, 1, 2, 3]),
        node("Pad", "x no_pads", "a", mode="reflect"),
        node("Slice", "x zero four axis", "a"),
        node("Mul", "x ones", "a"),
        node("Mul", "ones x", "a"),
        node("Div", "x ones", "a"),
        node("Add", "zero_float x", "a"),
        node("Sub", "x zero_float", "a"),
    ],
    ids=lambda n: f"{n.op_type}({','.join(n.input)})",
)
def test_a_node_that_hands_on_its_input_is_removed(idle):
    constants = {
        "shape": np.array([1, 3, 4, 4]),
        "no_pads": np.zeros(8, np.int64),
        "zero": np.array([0]),
        "four": np.array([4]),
        "axis": np.array([2]),
        "ones": np.ones((1, 3, 1, 1), np.float32),
        "zero_float": np.zeros((), np.float32),
    }
    graph = graph_of([idle, node("Relu", "a", "y")], X, ["y"], constants)
    after = remove_identities(graph)
    assert operators(after) == ["Relu"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    "needed",
    [
        node("Cast", "x", "a", to=7),
        node("Reshape", "x shape", "a"),
        node("Transpose", "x", "a", perm=[0, 1, 3, 2]),
        node("Pad", "x pads", "a"),
        node("Slice", "x last before axis step", "a"),
        node("Mul", "x twos", "a"),
        node("Mul", "x one_more_axis", "a"),
        node("Sub", "zero_float x", "a"),
        node("Div", "ones x", "a"),
        node("Expand", "x wide", "a"),
    ],
    ids=lambda n: f"{n.op_type}({','.join(n.input)})",
)
def test_a_node_that_changes_values_order_or_shape_stays(needed):
    constants = {
        "shape": np.array([1, 3, 2, 8]),
        "pads": np.array([0, 0, 1, 0, 0, 0, -1, 0]),
        "last": np.array([-1]),
        "before": np.array([-5]),
        "axis": np.array([2]),
        "step": np.array([-1]),
        "twos": np.full((1, 3, 1, 1), 2, np.float32),
        "ones": np.ones((1, 3, 1, 1), np.float32),
        "one_more_axis": np.ones((1, 1, 1, 1, 1), np.float32),
        "zero_float": np.zeros((), np.float32),
        "wide": np.array([2, 3, 4, 4]),
    }
    graph = graph_of([needed, node("Cast", "a", "y", to=1), node("Neg", "y", "z")], X, ["z"], constants)
    assert needed.op_type in operators(remove_identities(graph))
    assert_same_outputs(graph, remove_identities(graph))


def test_a_chain_of_identities_goes_as_a_whole():
    chain = [node("Identity", "x", "a"), node("Dropout", "a", "b"), node("Identity", "b", "c"), node("Relu", "c", "y")]
    graph = graph_of(chain, X, ["y"])
    after = remove_identities(graph)
    assert [(n.op, n.inputs) for n in after.nodes] == [("Relu", ("x",))]
    assert_same_outputs(graph, after)


def test_an_identity_that_is_a_graph_output_hands_its_name_to_what_it_copied():
    graph = graph_of([node("Relu", "x", "a"), node("Identity", "a", "y"), node("Neg", "a", "z")], X, ["y", "z"])
    after = remove_identities(graph)
    assert operators(after) == ["Relu", "Neg"]
    assert_same_outputs(graph, after)


def test_identities_between_two_graph_outputs_or_from_the_input_stay_where_a_name_needs_them():
    nodes = [node("Relu", "x", "a"), node("Identity", "a", "b"), node("Identity", "b", "c"), node("Identity", "x", "d")]
    graph = graph_of(nodes, X, ["a", "c", "d"])
    after = remove_identities(graph)
    assert operators(after) == ["Relu", "Identity", "Identity"]
    assert_same_outputs(graph, after)


def test_adding_nothing_and_clipping_what_is_negative_is_no_identity():
    graph = graph_of([node("Add", "x zero", "y")], X, ["y"], {"zero": np.zeros((1, 3, 1, 1), np.float32)})
    clipping = graph.with_nodes([replace(graph.nodes[0], activation="Relu")])
    assert remove_identities(clipping) is clipping
