"""Products and sums with constants join the layers before them."""

import numpy as np
import pytest

from edgefer.graph.passes.canonicalise import fuse_activations
from edgefer.graph.passes.fold_affine import fold_affine
from tests.graph.networks import IMAGE, assert_same_outputs, network, numbers, operators

CONSTANTS = {
    "w": numbers(4, 3, 3, 3),
    "b": numbers(4),
    "one": numbers(1),
    "each": numbers(4, 1, 1, seed=1),
    "row": numbers(1, 4, seed=2),
    "wide": numbers(3, 3),
    "m": numbers(3, 4),
}


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("a = Conv(x, w, b)\nc = Mul(each, a)\nd = Add(c, one)\ny = Relu(d)", IMAGE),
        ("a = Conv(x, w)\nd = Add(a, each)\ny = Relu(d)", IMAGE),
        ("a = Gemm(x, m)\nc = Add(row, a)\nd = Mul(c, one)\ny = Relu(d)", (1, 3)),
    ],
)
def test_constants_for_each_channel_join_the_layer(text, x):
    graph = network(text, "y", CONSTANTS, x)
    after = fold_affine(graph)
    assert [node.op for node in after.nodes] == [graph.nodes[0].op, "Relu"]
    assert_same_outputs(graph, after)


def test_factors_above_0_go_through_a_relu():
    text = "a = Conv(x, w, b)\nr = Relu(a)\ny = Mul(r, above)"
    graph = fuse_activations(network(text, "y", {**CONSTANTS, "above": np.abs(CONSTANTS["each"])}))
    after = fold_affine(graph)
    assert operators(after) == ["Conv+Relu"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("activation", "further"), [("Relu", "Mul(r, each)"), ("Relu", "Add(r, one)"), ("Clip", "Mul(r, above)")]
)
def test_others_stay_behind_an_activation(activation, further):
    limits = {"least": np.float32(0), "most": np.float32(6)}
    operands = "a, least, most" if activation == "Clip" else "a"
    text = f"a = Conv(x, w, b)\nr = {activation}({operands})\ny = {further}"
    graph = fuse_activations(network(text, "y", {**CONSTANTS, **limits, "above": np.abs(CONSTANTS["each"])}))
    assert len(graph.nodes) == 2
    assert fold_affine(graph) is graph


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("a = Conv(x, w)\ny = Add(a, wide)", "y"),  # differs from place to place
        ("a = Conv(x, w)\ny = Mul(a, each)\nz = Relu(a)", "y z"),
        ("a = Conv(x, w)\nc = Relu(a)\ny = Add(c, each)", "y"),
        ("a = Conv(x, w)\nc = Mul(a, each)\nd = Conv(x, w)\ny = Add(c, d)", "y"),  # tied weights stay tied
    ],
)
def test_others_stay(text, outputs):
    graph = network(text, outputs, CONSTANTS)
    assert fold_affine(graph) is graph
    assert operators(graph)
