import numpy as np

from edgefer.emit.onnx import emit_onnx
from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.integer_kernels import bias_params
from edgefer.runtime.runners import onnx_session
from tests.graph.networks import network


def test_integers_are_exact_where_sums_of_two_products_exceed_16_bits():
    """As they do on x86 without VNNI, unless ONNX Runtime is asked; in two layers, as it renames what they share."""
    weights = np.ones((4, 4, 1, 1), np.float32)
    constants = {"w": weights, "b": np.zeros(4, np.float32), "v": weights, "c": np.zeros(4, np.float32)}
    graph = network("h = Conv(x, w, b)\ny = Conv(h, v, c)", "y", constants, x=(1, 4, 3, 3))
    stored = {"x": QuantParams("int8", (1 / 255,), (-128,)), "h": QuantParams("int8", (4 / 255,), (-128,))}
    stored["y"] = QuantParams("int8", (16 / 255,), (-128,))
    for source, layer, bias in (("x", "w", "b"), ("h", "v", "c")):
        stored[layer] = QuantParams("int8", (1 / 127,) * 4, (0,) * 4, 0, narrow=True)
        stored[bias] = bias_params(stored[source], stored[layer], 0)
    plan = Plan(stored, {node.name: "int8" for node in graph.nodes})
    (found,) = onnx_session(emit_onnx(graph, plan)).run(None, {"x": np.ones((1, 4, 3, 3), np.float32)})
    np.testing.assert_allclose(found, 16, rtol=1e-6)
