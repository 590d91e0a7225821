import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgefer.graph.passes import normalise
from edgefer.graph.passes.fold_batch_norm import fold_batch_norm
from tests.emit.harness import graph_of
from tests.graph.comparing import assert_same_outputs, operators

RNG = np.random.default_rng(3)
X = {"x": (1, 3, 5, 5)}
NORM = "gamma beta mean variance"


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def numbers(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def constants(channels=4, **more):
    statistics = {key: numbers(channels) for key in ("gamma", "beta", "mean")}
    variance = RNG.uniform(0.1, 2, channels).astype(np.float32)
    return {**statistics, "variance": variance, "w": numbers(4, 3, 3, 3), **more}


@pytest.mark.parametrize(
    ("linear", "inputs", "more"),
    [
        (node("Conv", "x w", "a"), X, {}),
        (node("Conv", "x w bias", "a", strides=[2, 2]), X, {"bias": numbers(4)}),
        (node("Conv", "x w", "a", group=3), X, {"w": numbers(6, 1, 3, 3)}),
        (node("ConvTranspose", "x w", "a"), X, {"w": numbers(3, 4, 2, 2)}),
        (node("Gemm", "x w", "a"), {"x": (1, 3)}, {"w": numbers(3, 4)}),
        (node("Gemm", "x w bias", "a", transB=1), {"x": (1, 3)}, {"w": numbers(4, 3), "bias": numbers(1, 4)}),
    ],
    ids=["Conv", "Conv with bias", "grouped Conv", "ConvTranspose", "Gemm", "Gemm with a bias of two axes"],
)
def test_a_norm_merges_into_the_linear_operator_before_it(linear, inputs, more):
    channels = more["w"].shape[0] if linear.op_type == "Conv" and "w" in more else 4
    norm = node("BatchNormalization", f"a {NORM}", "b", epsilon=1e-3)
    graph = graph_of([linear, norm, node("Relu", "b", "y")], inputs, ["y"], constants(channels, **more))
    after = fold_batch_norm(graph)
    assert operators(after) == [linear.op_type, "Relu"]
    assert_same_outputs(graph, after)


@pytest.mark.parametrize(
    ("nodes", "outputs", "more"),
    [
        (["Conv x w a", f"BatchNormalization a {NORM} y", "Relu a z"], "y z", {}),
        (["Conv x w a", f"BatchNormalization a {NORM} y"], "a y", {}),
        (["Relu x a", f"BatchNormalization a {NORM} y"], "y", {}),
        ([f"BatchNormalization x {NORM} y"], "y", {}),
        (["Conv x v a", "Relu x v", f"BatchNormalization a {NORM} y"], "y", {}),
        (["ConvTranspose x w a", f"BatchNormalization a {NORM} y"], "y", {"w": numbers(3, 1, 2, 2)}),
    ],
    ids=["two readers", "graph output", "no linear", "at the input", "computed weights", "grouped ConvTranspose"],
)
def test_a_norm_that_cannot_merge_becomes_mul_and_add(nodes, outputs, more):
    shape = (3, 3, 5, 5) if "computed" in str(nodes) or "x v" in str(nodes) else X["x"]
    grouped = {"group": 3} if "ConvTranspose" in nodes[0] else {}
    protos = [
        node(op, " ".join(inputs), output, **(grouped if op == "ConvTranspose" else {}))
        for op, *inputs, output in (text.split() for text in nodes)
    ]
    protos.sort(key=lambda proto: proto.output[0] != "v")
    channels = 3 if "Conv x w" not in nodes[0] else 4
    del shape
    graph = graph_of(protos, X if "x v" not in str(nodes) else {"x": (1, 3, 1, 1)}, outputs.split(), constants(channels, **more))
    after = fold_batch_norm(graph)
    assert "BatchNormalization" not in operators(after)
    assert {"Mul", "Add"} <= set(operators(after))
    assert_same_outputs(graph, after)
