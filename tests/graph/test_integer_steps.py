"""Activations in steps that have integer kernels compute what they are."""

import numpy as np
import pytest

from edgefer.graph.passes.integer_steps import in_integer_steps
from edgefer.quantize.scales.islands import integer_nodes
from tests.graph.networks import assert_same_outputs, network

SLOPES = {
    "below one": np.float32([0.25, -0.5, 1, 0]).reshape(4, 1, 1),
    "above one": np.float32([0.25, -0.5, 2, 0]).reshape(4, 1, 1),
}


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("y = HardSwish(x)", {}),
        ("y = LeakyRelu<alpha=0.1>(x)", {}),
        ("y = LeakyRelu<alpha=1.5>(x)", {}),
        *(("y = PRelu(x, s)", {"s": slope}) for slope in SLOPES.values()),
    ],
)
def test_they_compute_the_same_and_all_in_int8(text, constants):
    graph = network(text, "y", constants, (1, 4, 5, 5))
    after = in_integer_steps(graph)
    assert_same_outputs(graph, after)
    assert [node.name for node in integer_nodes(after)] == [node.name for node in after.nodes]


def test_a_slope_that_is_computed_is_left_alone():
    graph = network("s = Abs(x)\ny = PRelu(x, s)", "y", {}, (1, 4, 5, 5))
    assert in_integer_steps(graph) is graph
