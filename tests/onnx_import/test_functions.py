"""Calls of functions become the nodes that they stand for."""

import onnx
import pytest
from onnx import parser

from edgefer.errors import InputError
from tests.graph.networks import operators
from tests.onnx_import.models import assert_read_as, imported

HEADER = '<ir_version: 10, opset_import: ["" : {opset}, "own" : 1]>'


def with_functions(body, functions, opset=20):
    """A model in ONNX's own text."""
    return parser.parse_model(f"{HEADER.format(opset=opset)}\nagraph {body}\n{functions}")


SCALED = """
<domain: "own", opset_import: ["" : 20]>
Scaled <alpha: float = 0.5> (a) => (b) {
    k = Constant <value_float: float = @alpha> ()
    inner = Mul (a, k)
    b = Relu (inner)
}
"""


def test_a_function_is_put_in_its_place_with_its_attributes():
    body = "(float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { a = own.Scaled <alpha = 2.0> (x)  y = own.Scaled (a) }"
    graph = assert_read_as(with_functions(body, SCALED))
    assert operators(graph) == ["Mul", "Relu", "Mul", "Relu"]
    assert len({node.name for node in graph.nodes}) == 4


def test_functions_call_functions_of_other_opsets():
    functions = (
        SCALED
        + """
<domain: "own", opset_import: ["" : 17, "own" : 1]>
Head (a) => (mean, same) {
    s = own.Scaled (a)
    mean = ReduceMean <axes = [2, 3]> (s)
    same = Identity (a)
}
"""
    )
    body = "(float[1, 3, 8, 8] x) => (float[1, 3, 1, 1] y) { y, z = own.Head (x) }"
    graph = imported(with_functions(body, functions))
    assert operators(graph) == ["Mul", "Relu", "ReduceMean"]
    assert graph.shape("y") == (1, 3, 1, 1)


def test_a_function_may_hand_on_what_it_is_given():
    same = '<domain: "own", opset_import: ["" : 20]> Same (a) => (a) { unread = Relu (a) }'
    body = "(float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { s = own.Same (x)  y = Relu (s) }"
    assert operators(imported(with_functions(body, same))) == ["Identity", "Relu"]


def test_a_function_that_calls_itself_is_refused():
    endless = '<domain: "own", opset_import: ["" : 20, "own" : 1]> Endless (a) => (b) { b = own.Endless (a) }'
    body = "(float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = own.Endless (x) }"
    with pytest.raises(InputError, match="call each other too deeply"):
        imported(with_functions(body, endless))


def test_functions_that_unfold_to_more_than_memory_holds_are_refused():
    twice = '<domain: "own", opset_import: ["" : 20, "own" : 1]> F{} (a) => (b) {{ c = own.F{} (a)  b = own.F{} (c) }}'
    levels = [twice.format(level, level + 1, level + 1) for level in range(20)]
    last = '<domain: "own", opset_import: ["" : 20]> F20 (a) => (b) { b = Relu (a) }'
    body = "(float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = own.F0 (x) }"
    with pytest.raises(InputError, match="unfolds to more than 20,000 nodes"):
        imported(with_functions(body, "\n".join([*levels, last])))


def test_an_operator_that_is_defined_by_older_ones_is_its_definition():
    body = "(float[1, 2, 4, 8] x) => (float[1, 2, 4, 8] y) { y = Attention (x, x, x) }"
    graph = assert_read_as(with_functions(body, "", opset=23), rtol=1e-4)
    assert {"MatMul", "Softmax"} <= set(operators(graph))
    assert onnx.defs.get_schema("Attention", 23).since_version > 18
