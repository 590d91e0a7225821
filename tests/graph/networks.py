"""Small networks written as text, and how tests judge that a pass left what they compute as it was."""

import numpy as np
from onnx.parser import parse_node

from edgefer.graph.onnx_io import to_onnx
from tests.emit.harness import graph_of, run_model, sample

IMAGE = (1, 3, 5, 5)

RESIDUAL = """
a = Conv<kernel_shape=[1, 1]>(x, w)
s = Sigmoid(a)
m = Mul(a, s)
b = Conv<kernel_shape=[1, 1]>(m, v)
c = Add(b, m)
"""
"""SiLU and a residual block; `w` is (4, 3, 1, 1), `v` (4, 4, 1, 1)."""


def network(text, outputs, constants=None, x=IMAGE):
    """The graph of nodes such as `a = Conv<group=1>(x, w)`, one in a line, on the input `x`."""
    nodes = [parse_node(line) for line in text.strip().splitlines()]
    return graph_of(nodes, {"x": x}, outputs.split(), constants)


def assert_same_outputs(before, after, rtol=1e-4):
    """Both graphs return the same, but for rounding, under the same names."""
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for seed in (0, 1):
        feeds = sample(before, seed)
        expected, found = (run_model(to_onnx(graph), feeds) for graph in (before, after))
        for name in before.outputs:
            finite = np.isfinite(expected[name])
            tolerance = rtol * max(1, np.abs(expected[name]).max(initial=0, where=finite))
            np.testing.assert_allclose(found[name], expected[name], rtol, tolerance)


def operators(graph):
    """Operators in network order, a fused activation behind its operator: `Conv+Relu`."""
    return [f"{node.op}+{node.activation}" if node.activation else node.op for node in graph.nodes]


def numbers(*shape, seed=0):
    """Random float32 weights."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def norm_constants(channels):
    """What a batch norm is made of: `gamma`, `beta`, `mean`, `variance`."""
    return {
        **{key: numbers(channels, seed=seed) for seed, key in enumerate(("gamma", "beta", "mean"))},
        "variance": np.abs(numbers(channels, seed=9)) + np.float32(0.1),
    }
