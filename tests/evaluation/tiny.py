"""A network of a few nodes with three heads, and images to evaluate it on."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EXPRESSIONS = ("angry", "happy", "neutral", "sad")
SPEC = {
    "input": {"size": [16, 16], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "outputs": [
        {
            "name": "expression",
            "kind": "expression",
            "activation": "softmax",
            "labels": list(EXPRESSIONS),
            "columns": [0, 4],
        },
        {
            "name": "affect",
            "kind": "valence_arousal",
            "activation": "tanh",
            "labels": ["valence", "arousal"],
            "columns": [4, 6],
        },
        {
            "name": "units",
            "kind": "action_units",
            "activation": "sigmoid",
            "labels": ["AU1", "AU12", "AU25"],
            "columns": [6, 9],
            "thresholds": [0.5, 0.4, 0.6],
        },
    ],
}


def network() -> onnx.ModelProto:
    """A residual network of a few nodes with SiLU, ReLU6 and nine outputs."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3)) / 4, "b1": rng.normal(size=8) / 4,
        "w2": rng.normal(size=(8, 1, 3, 3)) / 2, "b2": rng.normal(size=8) / 4,
        "w3": rng.normal(size=(8, 8, 1, 1)) / 3, "b3": rng.normal(size=8) / 4,
        "w4": rng.normal(size=(9, 8)) * 2, "b4": rng.normal(size=9) / 4,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["s1"], "gate"),
        helper.make_node("Mul", ["c1", "s1"], ["a1"], "silu"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c2", "zero", "six"], ["a2"], "relu6"),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["c3"], "pointwise"),
        helper.make_node("Add", ["c3", "a1"], ["sum"], "residual"),
        helper.make_node("Relu", ["sum"], ["a3"], "relu"),
        helper.make_node("GlobalAveragePool", ["a3"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w4", "b4"], ["y"], "classifier", transB=1),
    ]
    bounds = {"zero": np.float32(0), "six": np.float32(6)}
    constants = {**{name: array.astype(np.float32) for name, array in weights.items()}, **bounds}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 9])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def faces(count, seed=0):
    """Smooth random images, uint8 (count, 20, 24)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 5, 6)).astype(np.uint8)
    return np.kron(blocks, np.ones((4, 4), np.uint8))
