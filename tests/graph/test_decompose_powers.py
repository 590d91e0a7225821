"""Powers by whole numbers are powers by real ones."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import assert_same_outputs, network, operators


@pytest.mark.parametrize("exponent", [np.int64(3), np.array([2], np.int32), np.array([[0], [1], [2]]), np.float32(-2)])
def test_powers_are_what_onnx_runtime_computes(exponent):
    graph = network("y = Pow(x, e)", "y", {"e": exponent}, (1, 2, 3, 4))
    after = normalise(graph)
    assert after.constants[after.nodes[0].inputs[1]].dtype == np.float32
    assert_same_outputs(graph, after)
    feeds = sample(graph)
    expected = run_onnx(graph, feeds)["y"]
    np.testing.assert_allclose(run_tflite(emit_tflite(after, Plan()), feeds)["y"], expected, rtol=1e-4)


def test_a_first_power_is_the_number_itself():
    graph = network("a = Pow(x, e)\ny = Neg(a)", "y", {"e": np.int64(1)})
    assert operators(normalise(graph)) == ["Neg"]
