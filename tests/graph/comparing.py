"""A pass must leave what a graph computes as it was: how tests judge that."""

import numpy as np

from edgefer.graph.onnx_io import to_onnx
from tests.emit.harness import run_model, sample


def assert_same_outputs(before, after, seeds=(0, 1), rtol=1e-4):
    """Both graphs return the same, but for rounding, under the same names."""
    assert after.outputs == before.outputs
    assert after.inputs == before.inputs
    for seed in seeds:
        feeds = sample(before, seed)
        expected, found = (run_model(to_onnx(graph), feeds) for graph in (before, after))
        for name in before.outputs:
            np.testing.assert_allclose(found[name], expected[name], rtol, rtol * (1 + np.abs(expected[name]).max()))


def operators(graph):
    """Operators in network order, a fused activation behind its operator: `Conv+Relu`."""
    return [f"{node.op}+{node.activation}" if node.activation else node.op for node in graph.nodes]
