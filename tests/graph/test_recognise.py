import numpy as np
import pytest

from edgefer.graph.passes import normalise
from edgefer.graph.passes.recognise import recognise_activations, recognise_layer_norm
from edgefer.graph.passes.remove_dead import remove_dead
from tests.graph.networks import assert_same_outputs, network, numbers, operators

NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "six": 6, "half": 0.5, "sixth": 1 / 6, "root": 2**0.5,
    "inverse": 2**-0.5, "cubic": 0.044715, "pi": (2 / np.pi) ** 0.5, "eps": 1e-5,
    "twenty": 20,
}  # fmt: skip
CONSTANTS = {name: np.float32(number) for name, number in NUMBERS.items()}
SIXTH = "alpha=0.16666667, beta=0.5"
GATE = "a = Add(x, three)\nb = Clip(a, zero, six)\n"
ERF = "a = Div(x, root)\nb = Erf(a)\nc = Add(b, one)\n"

SPELLED = {
    "HardSwish": [
        f"a = HardSigmoid<{SIXTH}>(x)\ny = Mul(a, x)",
        f"{GATE}c = Mul(x, b)\ny = Div(c, six)",
        f"{GATE}c = Mul(b, sixth)\ny = Mul(c, x)",
        f"{GATE}c = Div(b, six)\ny = Mul(x, c)",
        f"{GATE}c = Div(x, six)\ny = Mul(c, b)",
    ],
    "Gelu": [
        f"{ERF}d = Mul(x, c)\ny = Mul(d, half)",
        f"{ERF}d = Mul(x, half)\ny = Mul(d, c)",
        f"{ERF}d = Div(c, two)\ny = Mul(d, x)",
        "a = Mul(inverse, x)\nb = Erf(a)\nc = Add(one, b)\nd = Mul(half, x)\ny = Mul(d, c)",
        "a = Pow(x, three)\nb = Mul(a, cubic)\nc = Add(x, b)\nd = Mul(c, pi)\ne = Tanh(d)\nf = Add(e, one)\n"
        "g = Mul(x, half)\ny = Mul(g, f)",
        "a = Mul(x, x)\nb = Mul(a, cubic)\nc = Add(b, one)\nd = Mul(x, pi)\ne = Mul(d, c)\nf = Tanh(e)\n"
        "g = Add(one, f)\nh = Mul(g, half)\ny = Mul(x, h)",
    ],
    "Mish": [
        "a = Softplus(x)\nb = Tanh(a)\ny = Mul(x, b)",
        "a = Exp(x)\nb = Add(a, one)\nc = Log(b)\nd = Tanh(c)\ny = Mul(d, x)",
    ],
    "Softplus": [
        "a = Greater(x, twenty)\nb = Softplus(x)\ny = Where(a, x, b)",
        "a = Greater(x, twenty)\nb = Exp(x)\nc = Add(b, one)\nd = Log(c)\ny = Where(a, x, d)",
    ],
}


@pytest.mark.parametrize(("op", "text"), [(op, text) for op, texts in SPELLED.items() for text in texts])
def test_an_activation_spelled_out_is_recognised(op, text):
    graph = network(text, "y", CONSTANTS)
    after = remove_dead(recognise_activations(graph))
    assert operators(after) == [op]
    assert_same_outputs(graph, after)
    assert_same_outputs(graph, normalise(graph))


@pytest.mark.parametrize(
    "text",
    [
        f"{GATE}y = Mul(x, b)",
        f"{GATE}w = Neg(x)\nc = Mul(w, b)\ny = Div(c, six)",
        "a = HardSigmoid(x)\ny = Mul(a, x)",
        "a = Sigmoid(x)\ny = Mul(a, x)",
        "a = Erf(x)\nc = Add(a, one)\nd = Mul(x, c)\ny = Mul(d, half)",
        "a = Softplus(x)\nb = Tanh(a)\nc = Neg(x)\ny = Mul(c, b)",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text):
    graph = network(text, "y", CONSTANTS)
    assert recognise_activations(graph) is graph


NORM = "m = ReduceMean(x, axes)\nd = Sub(x, m)\nq = {square}\nv = ReduceMean(q, axes)\ns = Add(v, eps)\n{quotient}\n"


@pytest.mark.parametrize(
    "affine", ["y = Identity(n)", "y = Mul(n, g)", "a = Mul(g, n)\ny = Add(a, b)", "y = Add(b, n)"]
)
@pytest.mark.parametrize(
    ("axes", "sizes", "expected"),
    [
        ([-1], (5,), ["LayerNormalization"]),
        ([2, 3], (5, 5), ["LayerNormalization"]),
        ([1], (3, 1, 1), ["Transpose", "LayerNormalization", "Transpose"]),
    ],
)
def test_a_layer_norm_spelled_out_is_recognised(axes, sizes, expected, affine):
    text = NORM.format(square="Pow(d, two)", quotient="r = Sqrt(s)\nn = Div(d, r)") + affine
    graph = network(
        text, "y", {**CONSTANTS, "axes": np.array(axes), "g": numbers(*sizes), "b": numbers(*sizes, seed=1)}
    )
    after = remove_dead(recognise_layer_norm(graph))
    assert operators(after) == [*expected, *(["Identity"] if "Identity" in affine else [])]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    "quotient",
    ["r = Sqrt(s)\nn = Div(d, r)", "r = Sqrt(s)\ni = Reciprocal(r)\nn = Mul(i, d)", "r = Pow(s, minus)\nn = Mul(d, r)"],
)
def test_however_its_root_is_spelled(quotient):
    text = NORM.format(square="Mul(d, d)", quotient=quotient) + "y = Identity(n)"
    graph = network(text, "y", {**CONSTANTS, "axes": np.array([3]), "minus": np.float32(-0.5)})
    after = remove_dead(recognise_layer_norm(graph))
    assert operators(after) == ["LayerNormalization", "Identity"]
    assert_same_outputs(graph, after)


def test_a_deviation_by_other_axes_is_no_layer_norm():
    text = "m = ReduceMean(x, a)\nd = Sub(x, m)\nq = Mul(d, d)\nv = ReduceMean(q, b)\ns = Add(v, eps)\nr = Sqrt(s)\n"
    graph = network(f"{text}y = Div(d, r)", "y", {**CONSTANTS, "a": np.array([3]), "b": np.array([2])})
    assert recognise_layer_norm(graph) is graph
