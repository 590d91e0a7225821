import numpy as np
import pytest

from edgefer.graph.patterns import find_silus, find_squeeze_excites, is_never_negative
from tests.graph.networks import network, numbers

WEIGHTS = {"w": numbers(2, 3, 1, 1), "v": numbers(3, 2, 1, 1)}


@pytest.mark.parametrize("product", ["Mul(x, s)", "Mul(s, x)"])
def test_a_silu_is_x_times_its_sigmoid(product):
    (silu,) = find_silus(network(f"s = Sigmoid(x)\ny = {product}", "y"))
    assert (silu.x, silu.sigmoid.op, silu.mul.output) == ("x", "Sigmoid", "y")


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("s = Sigmoid(x)\ny = Mul(s, s)", "y"),
        ("s = Sigmoid(x)\ny = Add(x, s)", "y"),
        ("s = Sigmoid(x)\nn = Neg(x)\ny = Mul(n, s)", "y"),
        ("s = Sigmoid(x)\ny = Mul(x, s)\nz = Neg(s)", "y z"),
        ("s = Sigmoid(x)\ny = Mul(x, s)", "y s"),
    ],
    ids=["sigmoid squared", "sum", "another x", "sigmoid read twice", "sigmoid returned"],
)
def test_what_only_looks_like_a_silu_is_none(text, outputs):
    assert find_silus(network(text, outputs)) == ()


GATE = "p = {pool}(x)\na = Conv(p, w)\nb = {inner}\nc = Conv(b, v)\ng = Sigmoid(c)\n"


@pytest.mark.parametrize("inner", ["Relu(a)", "Tanh(a)"])
@pytest.mark.parametrize("product", ["Mul(x, g)", "Mul(g, x)"])
def test_a_squeeze_and_excite_block_is_found_whatever_is_inside(inner, product):
    text = GATE.format(pool="GlobalAveragePool", inner=inner) + f"y = {product}"
    (block,) = find_squeeze_excites(network(text, "y", WEIGHTS))
    assert (block.x, block.pool.output, block.reduce.output, block.expand.output) == ("x", "p", "a", "c")
    assert (block.gate.output, block.mul.output) == ("g", "y")


@pytest.mark.parametrize(
    ("pool", "end"), [("GlobalMaxPool", "y = Mul(x, g)"), ("GlobalAveragePool", "n = Neg(x)\ny = Mul(n, g)")]
)
def test_other_gates_are_no_squeeze_and_excite(pool, end):
    text = GATE.format(pool=pool, inner="Relu(a)") + end
    assert find_squeeze_excites(network(text, "y", WEIGHTS)) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = Abs(x)", True),
        ("y = Mul(x, x)", True),
        ("y = Pow(x, two)", True),
        ("y = Pow(x, three)", False),
        ("a = Relu(x)\nb = Pow(a, three)\nc = GlobalAveragePool(b)\ny = Add(c, two)", True),
        ("a = Abs(x)\ny = Add(a, less)", False),
        ("a = Mul(x, x)\nb = Conv(a, shares)\nc = Mul(b, two)\ny = Add(three, c)", True),
        ("a = Mul(x, x)\ny = Conv(a, w)", False),
        ("a = Exp(x)\ny = Sub(a, two)", False),
    ],
)
def test_what_is_never_negative_is_known_by_how_it_is_made(text, expected):
    constants = {"two": np.float32(2), "three": np.float32(3), "less": np.float32(-1), "shares": np.abs(WEIGHTS["w"])}
    assert is_never_negative(network(text, "y", {**WEIGHTS, **constants}), "y") is expected
