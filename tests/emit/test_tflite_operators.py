"""Each operator alone: float as ONNX Runtime computes it, int8 within a step of that, taken over by XNNPACK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import helper

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.ir import Array, Graph
from edgefer.plan import Plan, QuantParams
from edgefer.runtime.delegation import undelegated
from tests.emit.harness import graph_of, int8_error, operators, run_onnx, run_tflite, sample
from tests.emit.minmax_plan import minmax_plan
from tests.graph.networks import network

IMAGE = (1, 6, 9, 8)
RNG = np.random.default_rng(7)


@dataclass(frozen=True)
class Case:
    """An operator, its constant inputs (None: left out) after one or more computed ones, and its attributes."""

    op: str
    constants: Sequence[Array | None] = ()
    shapes: Sequence[tuple[int, ...]] = (IMAGE,)
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)
    positive: bool = False

    def graph(self) -> Graph:
        inputs = {f"x{index}": shape for index, shape in enumerate(self.shapes)}
        constants = {f"c{index}": array for index, array in enumerate(self.constants) if array is not None}
        names = [*inputs, *("" if array is None else f"c{index}" for index, array in enumerate(self.constants))]
        outputs = [f"y{index}" for index in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, "node", **self.attributes)
        return graph_of([node], inputs, outputs, constants)

    def feeds(self, graph: Graph) -> dict[str, Array]:
        feeds = sample(graph)
        return {name: np.abs(array) for name, array in feeds.items()} if self.positive else feeds


def case(op: str, *constants: Array | None, x: tuple[int, ...] = IMAGE, outputs: int = 1, **attributes: Any) -> Case:
    return Case(op, constants, (x,), outputs, attributes)


def w(*shape: int) -> Array:
    return (RNG.standard_normal(shape) * 0.3).astype(np.float32)


def i(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


def f(number: float) -> Array:
    return np.asarray(number, np.float32)


CASES = {
    "conv": case("Conv", w(8, 6, 3, 3), w(8), pads=[1, 1, 1, 1]),
    "conv without bias, strided": case("Conv", w(8, 6, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv padded as TFLite's SAME": case("Conv", w(8, 6, 3, 3), pads=[1, 0, 1, 1], strides=[2, 2]),
    "conv dilated": case("Conv", w(8, 6, 3, 3), w(8), pads=[2, 2, 2, 2], dilations=[2, 2]),
    "conv padded unevenly": case("Conv", w(8, 6, 2, 3), w(8), pads=[1, 0, 0, 2]),
    "conv in groups": case("Conv", w(8, 3, 3, 3), w(8), pads=[1, 1, 1, 1], group=2),
    "conv depthwise": case("Conv", w(6, 1, 3, 3), w(6), pads=[1, 1, 1, 1], group=6),
    "conv depthwise, multiplied": case("Conv", w(12, 1, 5, 5), w(12), pads=[2, 2, 2, 2], group=6, strides=[2, 2]),
    "conv depthwise, large": case("Conv", w(6, 1, 7, 7), w(6), pads=[3, 3, 3, 3], group=6),
    "conv depthwise, large, strided": case("Conv", w(12, 1, 6, 9), w(12), pads=[3, 4, 1, 5], group=6, strides=[1, 2]),
    "conv depthwise, large, dilated": case("Conv", w(6, 1, 7, 5), pads=[6, 4, 6, 4], group=6, dilations=[2, 2]),
    "conv depthwise, dilated": case("Conv", w(6, 1, 3, 3), pads=[2, 2, 2, 2], group=6, dilations=[2, 2]),
    **{
        f"transposed conv, stride {stride}, pads {pads}": case(
            "ConvTranspose", w(6, 5, 3, 4), w(5), strides=[stride, stride], pads=pads
        )
        for stride in (1, 2, 3)
        for pads in ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1])
    },
    "transposed conv with output padding": case(
        "ConvTranspose", w(6, 5, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "transposed conv with output padding beyond": case(
        "ConvTranspose", w(6, 5, 3, 3), strides=[3, 3], output_padding=[2, 1]
    ),
    "transposed conv in groups": case("ConvTranspose", w(6, 2, 3, 3), w(4), strides=[2, 2], group=2),
    "transposed conv dilated": case(
        "ConvTranspose", w(6, 5, 3, 3), w(5), strides=[2, 2], dilations=[2, 2], pads=[2, 2, 2, 2]
    ),
    "transposed conv SAME_UPPER": case("ConvTranspose", w(6, 5, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed conv SAME_LOWER": case("ConvTranspose", w(6, 5, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
    "transposed conv of given shape": case("ConvTranspose", w(6, 5, 3, 3), strides=[2, 2], output_shape=[18, 16]),
    "gemm": case("Gemm", w(7, 5), w(5), x=(1, 7)),
    "gemm transposed": case("Gemm", w(5, 7), w(1, 5), x=(1, 7), transB=1),
    "gemm with factors": case("Gemm", w(5, 7), w(1, 5), x=(1, 7), transB=1, alpha=0.5, beta=2.0),
    "gemm of a transposed input": case("Gemm", w(1, 5), x=(1, 3), transA=1),
    "gemm with a scalar summand": case("Gemm", w(7, 5), w(1), x=(1, 7)),
    "matmul": case("MatMul", w(7, 5), x=(1, 7)),
    "matmul of three axes": case("MatMul", w(7, 5), x=(1, 4, 7)),
    "matmul of an image": case("MatMul", w(8, 5)),
    "matmul of two inputs": Case("MatMul", shapes=((1, 4, 5), (1, 5, 3))),
    **{f"{op} of two inputs": Case(op, shapes=(IMAGE, IMAGE)) for op in ("Add", "Sub", "Mul", "Max", "Min")},
    **{
        f"{op} with a constant of shape {shape}": case(op, w(*shape))
        for op in ("Add", "Sub", "Mul")
        for shape in ((), (1,), (8,), (9, 1), (6, 1, 1), (1, 6, 1, 1), (6, 9, 8))
    },
    "gate": Case("Mul", shapes=(IMAGE, (1, 6, 1, 1))),
    "a smaller operand first": Case("Add", shapes=((6, 1, 1), IMAGE)),
    "div": case("Div", w(1, 6, 1, 1) + 3),
    "max with a constant": case("Max", w(6, 1, 1)),
    **{
        op: case(op)
        for op in (
            "Sigmoid",
            "Tanh",
            "Relu",
            "HardSwish",
            "LeakyRelu",
            "Elu",
            "Exp",
            "Abs",
            "Neg",
            "Floor",
            "Ceil",
            "Round",
            "Sin",
            "Cos",
            "Reciprocal",
        )
    },
    "Sqrt": Case("Sqrt", positive=True),
    "square": case("Pow", f(2)),
    "cube": case("Pow", f(3)),
    "power": Case("Pow", (f(2.5),), positive=True),
    "PRelu": case("PRelu", np.abs(w(6, 1, 1))),
    **{
        f"clip to {low}..{high}": case("Clip", *(None if bound is None else f(bound) for bound in (low, high)))
        for low, high in ((0, 6), (0, 1), (-1, 1), (0, None), (-0.5, 0.7), (None, 0.3), (-0.2, None), (None, None))
    },
    **{f"softmax along {axis}": case("Softmax", axis=axis) for axis in (1, 2, 3)},
    "softmax of scores": case("Softmax", x=(1, 7), axis=-1),
    "max pool": case("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "max pool, padded": case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool, rounded up": case("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    **{
        f"average pool, {what}, padding {'in' if included else 'ex'}cluded": case(
            "AveragePool", count_include_pad=included, **window
        )
        for included in (0, 1)
        for what, window in {
            "plain": {"kernel_shape": [2, 2], "strides": [2, 2]},
            "same": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
            "strided": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            "rounded up": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        }.items()
    },
    "global average pool": case("GlobalAveragePool"),
    "global average pool of a sequence": case("GlobalAveragePool", x=(1, 5, 7)),
    "global max pool": case("GlobalMaxPool"),
    **{
        f"mean over {axes}, keepdims={keep}": case("ReduceMean", i(*axes), keepdims=keep)
        for axes in ((2, 3), (1,), (-1,), (1, 2, 3), (0, 2))
        for keep in (0, 1)
    },
    "mean over everything": case("ReduceMean", keepdims=0),
    "sum": case("ReduceSum", i(1), keepdims=0),
    "maximum": case("ReduceMax", i(2), keepdims=0),
    **{f"concat along {axis}": Case("Concat", shapes=(IMAGE, IMAGE), attributes={"axis": axis}) for axis in (1, 2, 3)},
    "split evenly": case("Split", outputs=2, axis=1, num_outputs=2),
    "split unevenly": case("Split", i(1, 3, 2), outputs=3, axis=1),
    "slice": case("Slice", i(1, -4), i(5, 99), i(1, 3)),
    "slice of every second, backwards": case("Slice", i(1, 7), i(8, -99), i(2, 3), i(2, -2)),
    "reverse": case("Slice", i(-1), i(-99), i(1), i(-1)),
    "pad": case("Pad", i(0, 0, 1, 2, 0, 0, 3, 0)),
    "pad with a number": case("Pad", i(0, 1, 1, 2, 0, 0, 3, 0), f(0.5)),
    "pad some axes": case("Pad", i(1, 2), None, i(2)),
    "pad reflected": case("Pad", i(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    **{
        f"resize linear, {placing}, to {size}": case(
            "Resize", None, None, i(1, 6, *size), mode="linear", coordinate_transformation_mode=placing
        )
        for placing in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
        for size in ((18, 16), (5, 4), (1, 1))
    },
    "resize nearest, as PyTorch": case(
        "Resize", None, f([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize nearest by a third": case(
        "Resize", None, None, i(1, 6, 12, 11), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize nearest, half pixels": case("Resize", None, None, i(1, 6, 18, 16), nearest_mode="round_prefer_ceil"),
    "reshape": case("Reshape", i(1, 12, -1)),
    "flatten": case("Flatten"),
    "squeeze": case("Squeeze", i(0)),
    "unsqueeze": case("Unsqueeze", i(2), x=(1, 9, 8)),
    **{f"transpose {order}": case("Transpose", perm=order) for order in ([0, 2, 3, 1], [0, 1, 3, 2], [3, 2, 1, 0])},
    "transpose of five axes": case("Transpose", x=(1, 2, 3, 4, 5), perm=[0, 3, 1, 4, 2]),
    "depth to space": case("DepthToSpace", x=(1, 8, 3, 4), blocksize=2),
    "pixel shuffle": case("DepthToSpace", x=(1, 8, 3, 4), blocksize=2, mode="CRD"),
    "space to depth": case("SpaceToDepth", x=(1, 3, 4, 6), blocksize=2),
    "gather": case("Gather", i(2, 1, 0), axis=1),
    "gather many": case("Gather", i(2, 1, 0, 5, 4, 3), axis=1),
    "gather one": case("Gather", np.asarray(3), axis=1),
    "gather a run": case("Gather", i(1, 2, 3, 4, 5), axis=1),
    "concat of nine": Case("Concat", shapes=(IMAGE,) * 9, attributes={"axis": 1}),
    "identity": case("Identity"),
    "layer norm": case("LayerNormalization", w(8), w(8)),
    "layer norm without bias, over two axes": case("LayerNormalization", w(9, 8), axis=2, epsilon=0.01),
    "layer norm of a sequence": case("LayerNormalization", w(7), w(7), x=(1, 5, 7)),
    "instance norm": case("InstanceNormalization", w(6), w(6)),
    "instance norm of groups": case("InstanceNormalization", w(2), w(2), x=(1, 2, 3, 4, 5)),
    "instance norm of a sequence": case("InstanceNormalization", w(5), w(5), x=(1, 5, 7)),
    **{
        f"expand to {shape}": case("Expand", i(*shape), x=(1, 6, 1, 8))
        for shape in ((1, 6, 9, 8), (9, 1), (1, 1, 6, 9, 8))
    },
    "reshape that splits channels": case("Reshape", i(1, 2, 3, 9, 8)),
    "reshape that joins height and width": case("Reshape", i(1, 6, 72)),
    "reshape that joins channels with height": case("Reshape", i(1, 54, 8)),
}

LEFT = {"MIRROR_PAD", "REVERSE_V2", "GATHER", "POW", "RESIZE_NEAREST_NEIGHBOR"}


@pytest.mark.parametrize("name", CASES)
def test_float_equals_onnx_runtime(name: str) -> None:
    graph = CASES[name].graph()
    feeds = CASES[name].feeds(graph)
    expected = run_onnx(graph, feeds)
    found = run_tflite(emit_tflite(graph, Plan()), feeds)
    for output in graph.outputs:
        assert found[output].shape == expected[output].shape
        tolerance = 1e-5 * max(float(np.abs(expected[output]).max()), 1)
        np.testing.assert_allclose(found[output], expected[output], rtol=0, atol=tolerance)


def _planned() -> list[str]:
    return [name for name in CASES if (graph := CASES[name].graph()) and _plan(graph, CASES[name]).nodes]


def _plan(graph: Graph, case: Case) -> Plan:
    return minmax_plan(graph, [case.feeds(graph)], io_int8=True)


@pytest.mark.parametrize("name", _planned())
def test_int8_is_within_a_step_of_the_real_function(name: str) -> None:
    graph = CASES[name].graph()
    plan = _plan(graph, CASES[name])
    feeds = CASES[name].feeds(graph)
    assert int8_error(graph, plan, graph.nodes[0], feeds, emit_tflite(graph, plan)) <= 1


@pytest.mark.parametrize("name", CASES)
def test_xnnpack_takes_over_all_but_the_operators_listed(name: str) -> None:
    graph = CASES[name].graph()
    left = {entry.split()[0] for entry in undelegated(emit_tflite(graph, Plan()))}
    assert left <= LEFT
    plan = _plan(graph, CASES[name])
    left = {entry.split()[0] for entry in undelegated(emit_tflite(graph, plan))}
    assert left <= LEFT


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "conv padded as TFLite's SAME": ["TRANSPOSE", "CONV_2D", "TRANSPOSE"],
        "conv without bias, strided": ["TRANSPOSE", "PAD", "CONV_2D", "TRANSPOSE"],
        "conv depthwise": ["TRANSPOSE", "DEPTHWISE_CONV_2D", "TRANSPOSE"],
        "transposed conv SAME_UPPER": ["TRANSPOSE", "TRANSPOSE_CONV", "TRANSPOSE"],
        "average pool, same, padding excluded": ["TRANSPOSE", "AVERAGE_POOL_2D", "TRANSPOSE"],
        "gemm transposed": ["FULLY_CONNECTED"],
        "clip to 0..6": ["RELU6"],
        "reshape": ["RESHAPE"],
        "square": ["SQUARE"],
        "cube": ["SQUARE", "MUL"],
    }.items(),
)
def test_operators_are_the_plain_ones(name: str, expected: list[str]) -> None:
    assert operators(emit_tflite(CASES[name].graph(), Plan())) == expected


@pytest.mark.parametrize("text", [
    "y = Slice(x, starts, ends, axes, twos)",
    "y = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(x)",
    "y = MaxPool<kernel_shape=[3, 5], pads=[0, 2, 2, 0]>(x)",
])  # fmt: skip
def test_every_second_element_and_padded_maxima_are_left_to_fast_kernels_and_are_exact(text: str) -> None:
    bounds = {"starts": [0, 1], "ends": [99, 99], "axes": [2, 3], "twos": [2, 2]}
    graph = network(text, "y", {name: np.asarray(numbers) for name, numbers in bounds.items()}, x=(1, 3, 9, 8))
    feeds = sample(graph)
    params = QuantParams("int8", (0.05,), (-9,))
    stored = {"x": params.quantize(feeds["x"])}
    plan = Plan(dict.fromkeys("xy", params), {node.name: "int8" for node in graph.nodes})
    files = emit_tflite(graph, Plan()), emit_tflite(graph, plan)
    assert [undelegated(file) for file in files] == [[], []]
    np.testing.assert_array_equal(run_tflite(files[0], feeds)["y"], run_onnx(graph, feeds)["y"])
    expected = run_onnx(graph, {"x": params.dequantize(stored["x"])})["y"]
    np.testing.assert_array_equal(run_tflite(files[1], stored)["y"], params.quantize(expected))


def test_powers_of_what_is_never_negative_and_repeated_rows_are_left_to_fast_kernels() -> None:
    how = 'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"'
    text = f"a = Abs(x)\nb = Pow(a, e)\ny = Resize<{how}>(b, , , s)"
    graph = network(text, "y", {"e": np.float32(1.7), "s": np.asarray([1, 3, 10, 15])}, x=(1, 3, 5, 5))
    file, feeds = emit_tflite(graph, Plan()), sample(graph)
    assert undelegated(file) == []
    np.testing.assert_allclose(run_tflite(file, feeds)["y"], run_onnx(graph, feeds)["y"], rtol=1e-5)


def test_an_int8_constant_with_a_number_per_channel_is_stored_for_a_row():
    conv, mul = helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Mul", ["y", "c"], ["z"])
    graph = graph_of([conv, mul], {"x": IMAGE}, ["z"], {"w": w(6, 6, 1, 1), "c": w(1, 6, 1, 1)})
    model = emit_tflite(graph, minmax_plan(graph, [sample(graph)], io_int8=True))
    tensors = Interpreter(model_content=model).get_tensor_details()
    assert [tuple(tensor["shape"]) for tensor in tensors if tensor["name"].startswith("c")] == [(1, 1, 8, 6)]


def test_places_along_an_axis_are_repeated_as_integers():
    text = "a = ArgMax<axis=1, keepdims=1>(x)\nb = Expand(a, s)\ny = Cast<to=1>(b)"
    graph = network(text, "y", {"s": np.array([1, 3, 4, 5])}, (1, 3, 4, 5))
    feeds = sample(graph)
    found = run_tflite(emit_tflite(graph, Plan()), feeds)["y"]
    np.testing.assert_array_equal(found, run_onnx(graph, feeds)["y"])
