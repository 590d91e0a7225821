"""Linear branches that are summed become one convolution."""

import pytest

from edgefer.graph.passes import normalise
from edgefer.graph.passes.merge_branches import merge_branches
from edgefer.graph.passes.remove_dead import remove_dead
from tests.graph.networks import IMAGE, assert_same_outputs, network, norm_constants, numbers, operators

CONSTANTS = {
    "w": numbers(3, 3, 3, 3),
    "v": numbers(3, 3, 1, 1, seed=1),
    "each": numbers(3, 1, 1, seed=2),
    "more": numbers(1, 3, 1, 1, seed=3),
    "b": numbers(3, seed=4),
    "deep": numbers(3, 1, 3, 3, seed=5),
    "wide": numbers(3, 3, 1, 5, seed=6),
    "one": numbers(3, 1, 1, 1, seed=7),
    "large": numbers(3, 3, 5, 5, seed=8),
    "place": numbers(1, 3, 5, 5, seed=9),
}
SAME = "<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>"
DEEP = "<group=3, kernel_shape=[3, 3], pads=[1, 1, 1, 1]>"


@pytest.mark.parametrize(
    ("text", "x"),
    [
        (f"p = Conv{SAME}(x, w, b)\nq = Conv(x, v)\ny = Add(p, q)", IMAGE),
        (f"p = Conv{SAME}(x, w)\nq = Conv(x, v, b)\ny = Sub(q, p)", IMAGE),
        (f"p = Conv{SAME}(x, w)\nq = Mul(x, each)\nr = Add(more, q)\ny = Add(r, p)", IMAGE),
        (f"p = Conv{DEEP}(x, deep)\ny = Add(p, x)", IMAGE),
        (f"p = Conv{DEEP}(x, deep, b)\nq = Add(x, each)\ny = Sub(q, p)", IMAGE),
        (f"p = Conv{SAME}(x, w)\nq = Conv<group=3>(x, one)\ny = Add(p, q)", IMAGE),
        ("p = Conv(x, v)\nq = Conv<group=3>(x, one)\ny = Add(p, q)", IMAGE),
        (
            "p = Conv<kernel_shape=[5, 5], pads=[2, 2, 2, 2]>(x, large)\n"
            "q = Conv<kernel_shape=[1, 5], pads=[0, 2, 0, 2]>(x, wide)\ny = Add(p, q)",
            (1, 3, 7, 6),
        ),
        (
            "p = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(x, w)\nq = Conv<strides=[2, 2]>(x, v)\ny = Add(p, q)",
            (1, 3, 9, 9),
        ),
        (
            "p = Conv<dilations=[2, 2], pads=[2, 2, 2, 2]>(x, w)\nq = Conv(x, v)\ny = Add(p, q)",
            (1, 3, 9, 9),
        ),
        (
            "p = Conv<kernel_shape=[3], pads=[1, 1]>(x, line)\nq = Conv<kernel_shape=[1]>(x, dot)\ny = Add(p, q)",
            (1, 3, 9),
        ),
        (f"p = Conv{SAME}(x, w)\nq = Conv(x, v)\nr = Add(p, q)\ns = Mul(x, each)\ny = Add(s, r)", IMAGE),
        (f"p = Conv{SAME}(x, w)\ny = Add(p, p)", IMAGE),
    ],
)
def test_branches_become_one_convolution(text, x):
    graph = network(text, "y", {**CONSTANTS, "line": numbers(3, 3, 3), "dot": numbers(3, 3, 1)}, x)
    after = remove_dead(merge_branches(graph))
    assert operators(after) == ["Conv"]
    assert_same_outputs(graph, after)


def test_grouped_kernels_are_laid_into_wider_groups():
    constants = {"w": numbers(8, 4, 3, 3), "v": numbers(8, 2, 1, 1, seed=1)}
    text = "p = Conv<group=2, pads=[1, 1, 1, 1]>(x, w)\nq = Conv<group=4>(x, v)\ny = Add(q, p)"
    graph = network(text, "y", constants, (1, 8, 5, 5))
    after = remove_dead(merge_branches(graph))
    assert operators(after) == ["Conv"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        (f"p = Conv{SAME}(x, w)\ny = Add(p, x)", "y"),  # a 1 among many weights of other channels
        (f"p = Conv{SAME}(x, w)\nq = Conv(x, v)\ny = Add(p, q)\nz = Relu(q)", "y z"),
        (f"p = Conv{SAME}(x, w)\nq = Relu(x)\nr = Conv(q, v)\ny = Add(p, r)", "y"),
        (f"p = Conv{DEEP}(x, deep)\nq = Conv(x, v)\ny = Add(p, q)", "y"),  # dearer as one
        (f"p = Conv{SAME}(x, w)\nq = Mul(x, place)\ny = Add(p, q)", "y"),
        (f"p = Conv{SAME}(x, w)\nq = Conv{SAME}(x, w)\nr = Relu(q)\ns = Add(p, x)\ny = Add(r, s)", "y"),
        ("p = Mul(x, each)\ny = Add(x, p)", "y"),
        ("p = Conv(x, w)\nq = Conv<strides=[2, 2]>(x, v)\ny = Add(p, q)", "y"),
        (f"p = Conv{SAME}(x, w)\nq = Conv<kernel_shape=[1, 5], pads=[0, 2, 0, 2]>(x, wide)\ny = Add(p, q)", "y"),
    ],
)
def test_others_stay(text, outputs):
    graph = network(text, outputs, CONSTANTS)
    assert merge_branches(graph) is graph


def test_a_block_that_is_trained_in_branches_becomes_one_layer_when_normalised():
    text = f"""
p = Conv{SAME}(x, w)
normed = BatchNormalization(p, gamma, beta, mean, variance)
q = Conv(x, v)
small = BatchNormalization(q, gamma, beta, mean, variance)
itself = BatchNormalization(x, gamma, beta, mean, variance)
s = Add(normed, small)
t = Add(s, itself)
y = Relu(t)
"""
    graph = network(text, "y", {**CONSTANTS, **norm_constants(3)})
    after = normalise(graph)
    assert operators(after) == ["Conv+Relu"]
    assert_same_outputs(graph, after)
