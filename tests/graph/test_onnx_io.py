from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgefer.graph.inference import node_proto
from edgefer.graph.ir import Node
from edgefer.graph.onnx_io import from_onnx, to_onnx, with_whole_nodes
from edgefer.graph.passes import normalise
from edgefer.graph.passes.remove_dead import remove_dead
from tests.graph.networks import assert_same_outputs, network, numbers, operators


def test_writing_and_reading_again_gives_the_same_network():
    graph = normalise(network("a = Conv(x, w)\nb = Clip(a, l, h)\ny = Relu(b)", "y", {
        "w": numbers(4, 3, 3, 3), "l": np.float32(0), "h": np.float32(6)}))  # fmt: skip
    again = normalise(from_onnx(to_onnx(graph)))
    assert operators(again) == operators(graph)
    assert_same_outputs(graph, again)


def test_metadata_and_equal_bytes():
    graph = network("y = Relu(x)", "y")
    first, second = (to_onnx(graph, metadata=order) for order in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}))
    assert {entry.key: entry.value for entry in first.metadata_props} == {"a": "1", "b": "2"}
    assert first.SerializeToString() == second.SerializeToString()


def test_attributes_that_are_equal_numbers_stay_of_their_kinds():
    whole, real = (
        node_proto(Node("node", "Custom", ("x",), ("y",), {"one": one, "some": (one, one)})) for one in (1, 1.0)
    )
    kinds = onnx.AttributeProto
    assert [attribute.type for attribute in whole.attribute] == [kinds.INT, kinds.INTS]
    assert [attribute.type for attribute in real.attribute] == [kinds.FLOAT, kinds.FLOATS]


SPELLED = {
    "exact": Node("curve", "Gelu", ("a",), ("b",)),
    "tanh": Node("curve", "Gelu", ("a",), ("b",), {"approximate": "tanh"}),
    "gentle slope": Node("curve", "PRelu", ("a", "gentle"), ("b",)),
    "steep slope": Node("curve", "PRelu", ("a", "steep"), ("b",)),
}


@pytest.mark.parametrize("node", SPELLED.values(), ids=SPELLED)
def test_nodes_that_are_spelled_out_are_read_again_as_they_were(node):
    constants = {"w": numbers(3, 3, 1, 1), "gentle": np.float32([[[0.2]]]), "steep": np.float32([[[1.7]]])}
    graph = network("a = Conv(x, w)\nb = Relu(a)\ny = Mul(b, a)", "y", constants)
    graph = graph.with_nodes([graph.nodes[0], node, graph.nodes[2]])
    model = to_onnx(graph)
    assert node.op not in {each.op_type for each in model.graph.node}
    again = remove_dead(with_whole_nodes(from_onnx(model)))
    assert again.nodes == graph.nodes
    assert to_onnx(again).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_nodes_that_are_only_named_alike_stay():
    graph = network("a = Mul(x, s)\ny = Max(a, s)", "y", {"s": np.float32([[[0.2]]])})
    named = [replace(node, name=f"n/{name}") for node, name in zip(graph.nodes, ("Mul_0", "Max_1"), strict=True)]
    assert with_whole_nodes(graph.with_nodes(named)).nodes == tuple(named)
