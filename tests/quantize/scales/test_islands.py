import numpy as np
import pytest

from edgefer.quantize.scales.islands import integer_nodes
from tests.graph.networks import network, numbers

CONSTANTS = {
    "w": numbers(3, 3, 1, 1),
    "k": np.float32(0.3),
    "mask": np.where(np.eye(5) > 0, np.float32(0), np.float32(-1e9)),
    "shape": np.array([1, 3, 25]),
}


def integers(text):
    return [node.op for node in integer_nodes(network(text, "y", CONSTANTS))]


def test_a_scale_and_shift_behind_a_node_in_float_compute_in_float():
    assert integers("a = Conv(x, w)\nb = Exp(a)\nc = Mul(b, k)\nd = Add(c, k)\ny = Conv(d, w)") == ["Conv", "Conv"]


def test_a_mask_before_a_softmax_is_added_in_float():
    assert integers("a = Conv(x, w)\nb = Add(a, mask)\ny = Softmax(b)") == ["Conv"]


def test_what_is_converted_in_place_of_the_product_is_multiplied_in_float():
    text = "a = Conv(x, w)\nb = Softmax(x)\nc = Mul(a, b)\n"
    assert integers(f"{text}y = Softmax(c)") == ["Conv"]
    assert integers(f"{text}y = Conv(c, w)") == ["Conv", "Mul", "Conv"]
    assert integers("a = Conv(x, w)\nb = Conv(x, w)\nc = Mul(a, b)\ny = Softmax(c)") == ["Conv", "Conv", "Mul"]


def test_what_moves_numbers_between_nodes_in_float_does_so_in_float():
    text = "a = Softmax(x)\nb = Transpose<perm=[0, 1, 3, 2]>(a)\nc = Reshape(b, shape)\ny = Softmax(c)"
    assert integers(text) == []
    assert integers("a = Softmax(x)\nb = Transpose<perm=[0, 1, 3, 2]>(a)\ny = Conv(b, w)") == ["Transpose", "Conv"]


def test_a_product_of_a_gate_in_float_with_what_it_is_made_of_computes_in_float():
    assert integers("a = Conv(x, w)\nb = Exp(a)\nc = Mul(a, b)\ny = Conv(c, w)") == ["Conv", "Conv"]


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_a_residual_that_needs_a_conversion_either_way_stays_int8(op):
    text = f"a = Conv(x, w)\nb = Conv(a, w)\nc = Exp(b)\nd = {op}(a, c)\ny = Conv(d, w)"
    assert integers(text) == ["Conv", "Conv", op, "Conv"]


def test_rows_of_a_table_are_looked_up_in_float():
    constants = {"depth": np.array(3), "onoff": np.float32([0, 1]), "table": numbers(3, 4)}
    text = "a = ArgMax<axis=1, keepdims=0>(x)\nb = OneHot(a, depth, onoff)\ny = MatMul(b, table)"
    assert integer_nodes(network(text, "y", constants)) == []


def test_a_split_that_float_alone_reads_is_converted_once():
    parts = "a = Conv(x, w)\nq, k1, v = Split<axis=1, num_outputs=3>(a)\nt = Transpose<perm=[0, 1, 3, 2]>(k1)\n"
    assert integers(f"{parts}b = MatMul(q, t)\nc = Softmax(b)\ny = MatMul(c, v)") == ["Conv"]
    assert integers(f"{parts}b = MatMul(q, t)\nc = Softmax(b)\ny = Mul(v, v)") == ["Conv", "Split", "Transpose", "Mul"]
