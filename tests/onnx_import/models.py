"""Models written as text, of any opset."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.parser import parse_node

from edgefer.graph.onnx_io import to_onnx
from edgefer.onnx_import import import_onnx
from tests.emit.harness import run_model

FLOAT = TensorProto.FLOAT


def model(text, constants=None, x=(1, 3, 8, 8), *, opset=18, dtype=FLOAT, y=None, outputs=("y",)):
    """The model of nodes, one in a line, from `x` to `outputs`."""
    graph = helper.make_graph(
        [parse_node(line) for line in text.strip().splitlines()],
        "text",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info(name, dtype, y) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def imported(model, **options):
    """The graph that a model is read as."""
    return import_onnx(model, **options).graph


def images(shape, seed=0):
    """Feeds for the input `x`."""
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def assert_read_as(original, expected=None, rtol=1e-5):
    """What is read computes what ONNX Runtime makes of the original (or of `expected`); returns the graph."""
    graph = imported(original)
    feeds = images(graph.shape("x"))
    found = run_model(to_onnx(graph), feeds)
    for name, answer in run_model(original if expected is None else expected, feeds).items():
        assert graph.shape(name) == answer.shape
        np.testing.assert_allclose(found[name], answer, rtol, rtol * max(1, np.abs(answer).max(initial=0)))
    return graph
