import numpy as np
import onnx

from edgefer.graph.inference import node_proto
from edgefer.graph.ir import Node
from edgefer.graph.onnx_io import from_onnx, to_onnx
from edgefer.graph.passes import normalise
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
