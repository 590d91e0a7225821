"""Cubics that look beyond the border see what ONNX Runtime lets them see."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import network, operators

GRID = np.random.default_rng(0).uniform(-4, 4, (1, 9, 7, 2)).astype(np.float32)


@pytest.mark.parametrize("size", [(5, 4), (7, 1), (2, 3)])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_a_map_is_continued_beyond_its_border(padding, aligned, size):
    how = f'mode="bicubic", padding_mode="{padding}", align_corners={aligned}'
    graph = network(f"y = GridSample<{how}>(x, g)", "y", {"g": GRID}, (1, 2, *size))
    after = normalise(graph)
    assert "GridSample" not in operators(after)
    feeds = sample(graph)
    expected = run_onnx(graph, feeds)["y"]
    np.testing.assert_allclose(run_onnx(after, feeds)["y"], expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(run_tflite(emit_tflite(after, Plan()), feeds)["y"], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_places_may_be_computed(padding):
    text = "t = Tanh(x)\nu = Mul(t, wide)\ng = Reshape(u, shape)\n"
    text += f'y = GridSample<mode="bicubic", padding_mode="{padding}">(x, g)'
    graph = network(text, "y", {"wide": np.float32(1.4), "shape": np.array([1, 5, 6, 2])}, (1, 4, 3, 5))
    feeds = sample(graph)
    found = run_tflite(emit_tflite(normalise(graph), Plan()), feeds)["y"]
    np.testing.assert_allclose(found, run_onnx(graph, feeds)["y"], rtol=1e-4, atol=2e-5)
