import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.runtime import runners
from edgefer.runtime.runners import onnx_session
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import network, numbers

IMAGE = (1, 3, 12, 12)
TAIL = "\np = GlobalAveragePool(y)\nq = GlobalAveragePool(z)\nr = Concat<axis=1>(p, q)\nout = Flatten(r)"
NETWORKS = {
    "branches": "l = AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(x)\ny = Conv(x, w, b)\nz = Conv(l, w, c)" + TAIL,
    "one behind the other, with a far larger bias": "a = Conv(x, w, b)\ny = Relu(a)\nz = Conv(y, w, large)" + TAIL,
    "depthwise": "m = Mul(x, ten)\ny = Conv<group=3>(x, d, b)\nz = Conv<group=3>(m, d, c)" + TAIL,
    "attention": (
        "e = Conv(x, w, b)\ns = GlobalAveragePool(e)\nt = MaxPool<kernel_shape=[10, 10]>(e)\nf = Conv(s, u)\n"
        "g = Conv(t, u)\nh = Relu(f)\ni = Relu(g)\nj = Conv(h, v)\nk = Conv(i, v)\nl = Add(j, k)\nm = Sigmoid(l)\n"
        "y = Mul(e, m)\nz = Relu(e)"
    )
    + TAIL,
    "fully connected": (
        "p = GlobalAveragePool(x)\nf = Flatten(p)\na = Gemm<transB=1>(f, square, b)\nh = Relu(a)\n"
        "out = Gemm<transB=1>(h, square, c)"
    ),
    "fully connected, step after step": (
        "p = GlobalAveragePool(x)\nf = Flatten(p)\na = Gemm<transB=1>(f, square, b)\nh = Tanh(a)\n"
        "i = Gemm<transB=1>(h, square, b)\nj = Tanh(i)\nk = Gemm<transB=1>(j, square, b)\nl = Tanh(k)\n"
        "out = Gemm<transB=1>(l, square, c)"
    ),
    "read along the other axis": (
        "p = GlobalAveragePool(x)\nf = Flatten(p)\na = Gemm<transB=1>(f, square, b)\nh = Relu(a)\n"
        "out = Gemm(h, square, c)"
    ),
    "factors": (
        "a = Mul(x, slope)\nb1 = Conv(a, w, b)\nh = Sigmoid(b1)\nc1 = Mul(h, slope)\nout = GlobalAveragePool(c1)"
    ),
}
CONSTANTS = {
    "w": numbers(3, 3, 3, 3),
    "d": numbers(3, 1, 3, 3, seed=1),
    "u": numbers(2, 3, 1, 1, seed=2),
    "v": numbers(3, 2, 1, 1, seed=3),
    "b": numbers(3, seed=4),
    "c": numbers(3, seed=5),
    "large": numbers(3, seed=6) * 1e6,
    "square": numbers(3, 3, seed=7),
    "slope": np.abs(numbers(3, 1, 1, seed=8)),
    "ten": np.float32(10),
}
TIED = ("w", "d", "u", "v", "square", "slope")


def planned(name, keep_float=frozenset()):
    graph = normalise(network(NETWORKS[name], "out", CONSTANTS, IMAGE))
    tensors = tensors_to_observe(graph, keep_float)
    histograms = collect(graph, tensors, [sample(graph, seed) for seed in range(8)])
    return graph, plan_int8(graph, histograms, keep_float)


def sqnr(expected, found):
    return 10 * np.log10(np.square(expected).sum() / max(np.square(expected - found).sum(), 1e-12))


def assert_right(graph, plan):
    """Both runtimes come close to float and to each other, whether exact sums are asked for or not."""
    feeds = sample(graph, 0)
    (expected,) = run_onnx(graph, feeds).values()
    (found,) = onnx_session(emit_onnx(graph, plan)).run(None, feeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runners, "sums_saturate", lambda: True)
        np.testing.assert_array_equal(onnx_session(emit_onnx(graph, plan)).run(None, feeds)[0], found)
    (other,) = run_tflite(emit_tflite(graph, plan), {"x": plan.tensors["x"].quantize(feeds["x"])}).values()
    other = plan.tensors["out"].dequantize(other) if "out" in plan.tensors else other
    assert sqnr(expected, found) > 28
    assert sqnr(expected, other) > 28
    assert sqnr(other, found) > 40


@pytest.mark.parametrize("name", NETWORKS)
def test_both_runtimes_take_a_constant_that_several_nodes_read(name):
    assert_right(*planned(name))


@pytest.mark.parametrize("node", ["Conv_1", "Conv_2"])
def test_one_reader_may_compute_in_float(node):
    graph, plan = planned("branches", frozenset([node]))
    assert not plan.is_int8(node) and plan.tensors["w"].dtype == "int8"
    assert_right(graph, plan)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "read along the other axis"])
def test_tied_weights_are_int8_for_all_that_read_them_and_stored_once(name):
    graph, plan = planned(name)
    readers = [node for node in graph.nodes if set(TIED) & set(node.inputs)]
    assert len(readers) >= 2 and all(plan.is_int8(node.name) for node in readers)
    initializers = [numpy_helper.to_array(tensor) for tensor in emit_onnx(graph, plan).graph.initializer]
    buffers = schema.ModelT.InitFromPackedBuf(emit_tflite(graph, plan), 0).buffers
    for tied in set(TIED) & set(graph.constants):
        integers = np.sort(plan.tensors[tied].quantize(graph.constants[tied]), axis=None)
        unsigned = (integers.astype(np.int16) + 128).astype(np.uint8)
        in_onnx = [np.sort(array, axis=None) for array in initializers if array.dtype in (np.int8, np.uint8)]
        in_tflite = [np.sort(buffer.data.view(np.int8)) for buffer in buffers if buffer.data is not None]
        assert sum(np.array_equal(each, like) for each in in_onnx for like in (integers, unsigned)) == 1
        assert sum(np.array_equal(each, integers) for each in in_tflite) == 1
