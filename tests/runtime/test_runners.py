import numpy as np
import onnxruntime
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.host.saturation import EXACT
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import bias_params
from edgefer.runtime import runners
from edgefer.runtime.runners import onnx_session
from tests.graph.networks import network

FEEDS = {"x": np.ones((1, 4, 3, 3), np.float32)}
ANSWER = 16


def saturating():
    """A model whose sums of two products exceed 16 bits; in two layers, as ONNX Runtime renames what they share."""
    weights = np.ones((4, 4, 1, 1), np.float32)
    constants = {"w": weights, "b": np.zeros(4, np.float32), "v": weights, "c": np.zeros(4, np.float32)}
    graph = network("h = Conv(x, w, b)\ny = Conv(h, v, c)", "y", constants, x=(1, 4, 3, 3))
    stored = {"x": QuantParams("int8", (1 / 255,), (-128,)), "h": QuantParams("int8", (4 / 255,), (-128,))}
    stored["y"] = QuantParams("int8", (16 / 255,), (-128,))
    for source, layer, bias in (("x", "w", "b"), ("h", "v", "c")):
        stored[layer] = QuantParams("int8", (1 / 127,) * 4, (0,) * 4, 0, narrow=True)
        stored[bias] = bias_params(stored[source], stored[layer], 0)
    return emit_onnx(graph, Plan(stored, {node.name: "int8" for node in graph.nodes}))


def test_integers_are_exact_where_sums_of_two_products_exceed_16_bits():
    (found,) = onnx_session(saturating()).run(None, FEEDS)
    np.testing.assert_allclose(found, ANSWER, rtol=1e-6)


@pytest.mark.parametrize("saturate", [False, True])
def test_exact_sums_are_asked_for_where_they_saturate(monkeypatch, saturate):
    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key, value):
            asked.append((key, value))
            super().add_session_config_entry(key, value)

    asked = []
    monkeypatch.setattr(runners, "sums_saturate", lambda: saturate)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    session = onnx_session(saturating())
    assert (EXACT in asked) == saturate
    if saturate:
        np.testing.assert_allclose(session.run(None, FEEDS)[0], ANSWER, rtol=1e-6)
