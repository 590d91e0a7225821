"""Needs torch, but for the test of what happens without it."""

import importlib
import sys

import numpy as np
import pytest

from edgefer.errors import UnsupportedOperatorError, UsageError
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes.canonicalise import fuse_activations
from tests.emit.harness import run_model
from tests.graph.networks import network, norm_constants, numbers

IMAGE = (1, 4, 7, 6)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)


NETWORKS = {
    "a convolution with other padding on each side": "y = Conv<strides=[2,1], pads=[0,1,2,3]>(x, w, b)",
    "a grouped and dilated convolution": "y = Conv<group=2, dilations=[2,1]>(x, grouped)",
    "same padding stated by name": 'y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)',
    "padding by an operator of its own": "p = Pad(x, pads)\ny = MaxPool<kernel_shape=[2,2]>(p)",
    "a batch norm": "y = BatchNormalization<epsilon=0.01>(x, gamma, beta, mean, variance)",
    "a max pool": "y = MaxPool<kernel_shape=[3,2], strides=[2,2], pads=[1,0,0,1], ceil_mode=1>(x)",
    "an average over what is not padding": "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,1]>(x)",
    "an average over padding too": "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)",
    "a gated residual": "s = Sigmoid(x)\nm = Mul(x, s)\ny = Add(m, x)",
    "arithmetic with constants": "a = Sub(x, slope)\ny = Div(a, slope)",
    "bounded activations": "a = Clip(x, low, high)\nh = HardSigmoid<alpha=0.3>(a)\nk = HardSwish(h)\ny = Tanh(k)",
    "a bound on one side": "y = Clip(x, , high)",
    "leaky activations": "a = LeakyRelu<alpha=0.2>(x)\ny = PRelu(a, slope)",
    "fused activations": "a = Conv(x, w, b)\nr = Relu(a)\nc = Conv(r, w2)\ny = Clip(c, low, six)",
    "a head": "p = GlobalAveragePool(x)\nf = Flatten(p)\ng = Gemm<transB=1, beta=2.0>(f, matrix, b3)\ny = Softmax(g)",
    "another head": "m = ReduceMean<keepdims=0>(x, axes)\ng = MatMul(m, square)\ny = Reshape(g, shape)",
    "sums and extremes": "t = ReduceSum(x, channel)\nm = ReduceMax(x, channel)\nd = Sub(t, m)\ny = ReduceMin(d, axes)",
    "a softmax in the logarithm": "e = Exp(x)\ns = ReduceSum(e, channel)\nl = Log(s)\ny = Sub(x, l)",
    "a layer norm": "y = LayerNormalization(x, row, row)",
    "axes that come and go": "p = GlobalAveragePool(x)\ns = Squeeze(p, axes)\ny = Unsqueeze(s, axes)",
    "some of the columns": "m = ReduceMean<keepdims=0>(x, axes)\ny = Slice(m, ones, ends, ones)",
    "every other row but the last": "y = Slice(x, zeros, minus, axes, steps)",
    "numbers of another type": "i = Cast<to=7>(x)\ny = Cast<to=1>(i)",
    "axes that change places": "c = Concat<axis=1>(x, x)\ny = Transpose<perm=[0,2,3,1]>(c)",
}

CONSTANTS = {
    "w": numbers(4, 4, 3, 3),
    "w2": numbers(2, 4, 1, 1),
    "grouped": numbers(6, 2, 2, 3),
    "b": numbers(4),
    "slope": numbers(4, 1, 1) + 2,
    "pads": np.array([0, 0, 1, 0, 0, 0, 2, 1], np.int64),
    "low": np.float32(0),
    "high": np.float32(0.6),
    "six": np.float32(6),
    "matrix": numbers(3, 4),
    "b3": numbers(3),
    "square": numbers(4, 4),
    "axes": np.array([2, 3], np.int64),
    "channel": np.array([1], np.int64),
    "row": numbers(6),
    "shape": np.array([1, 2, 2], np.int64),
    "ones": np.array([1], np.int64),
    "ends": np.array([3], np.int64),
    "minus": np.array([-1, -1], np.int64),
    "steps": np.array([2, 1], np.int64),
    "backwards": np.array([-1], np.int64),
    "zeros": np.array([0, 0], np.int64),
    "zero": np.array([0], np.int64),
    **norm_constants(4),
}


@pytest.mark.parametrize("text", NETWORKS.values(), ids=NETWORKS.keys())
def test_each_image_of_a_batch_gives_what_the_graph_gives_for_it_alone(torch, text):
    from edgefer.graph.torch_module import TorchGraph

    graph = fuse_activations(network(text, "y", {k: v for k, v in CONSTANTS.items() if k in text}, IMAGE))
    images = np.random.default_rng(1).normal(size=(3, *IMAGE[1:])).astype(np.float32)
    (found,) = TorchGraph(graph)(torch.from_numpy(images), ["y"])
    expected = [run_model(to_onnx(graph), {"x": image[np.newaxis]})["y"] for image in images]
    np.testing.assert_allclose(found.numpy(), np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_image(torch):
    from edgefer.graph.torch_module import TorchGraph

    graph = network("s = Sigmoid(x)\ny = Mul(x, s)", "y")
    image = torch.full((2, 3, 5, 5), 1.5, requires_grad=True)
    TorchGraph(graph)(image, ["y"])[0].sum().backward()
    sigmoid = 1 / (1 + np.exp(-1.5))
    np.testing.assert_allclose(image.grad.numpy(), sigmoid * (1 + 1.5 * (1 - sigmoid)), rtol=1e-5)


def test_constants_can_be_replaced_and_values_stored_with_loss(torch):
    from edgefer.graph.torch_module import TorchGraph

    graph = network("a = Mul(x, two)\ny = Add(a, two)", "y", {"two": np.float32(2)})
    seen = []

    def store(value, computed):
        seen.append(value)
        return computed.round()

    image = torch.full((2, 3, 5, 5), 1.4)
    (found,) = TorchGraph(graph)(image, ["y"], {"two": torch.tensor(3.3)}, store)
    assert seen == ["x", "a", "y"]
    assert torch.equal(found, torch.full_like(image, 6.0))  # 1 * 3.3 is stored as 3, and 3 + 3.3 as 6


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("y = Erf(x)", "Erf"),
        ('y = Pad<mode="reflect">(x, pads)', r"Pad \(reflect\)"),
        ("y = Transpose<perm=[1,0,2,3]>(x)", "Transpose across the batch"),
        ("y = Concat<axis=0>(x, x)", "Concat across the batch"),
        ("y = Softmax<axis=0>(x)", "Softmax across the batch"),
        ("y = Slice(x, zero, ones)", "Slice across the batch"),
        ("y = Slice(x, ones, zero, ones, backwards)", r"Slice \(backwards\)"),
        ("y = ReduceMean(x)", "ReduceMean across the batch"),
        ("m = ReduceMean<keepdims=0>(x, axes)\nt = Reshape(m, shape)\ny = Add(t, x)", "Add across the batch"),
    ],
)
def test_an_operator_that_cannot_work_on_batches_is_named(torch, text, named):
    from edgefer.graph.torch_module import TorchGraph

    shape = np.array([1, 1, 4], np.int64)
    graph = network(text, "y", {k: v for k, v in {**CONSTANTS, "shape": shape}.items() if k in text}, (1, 4, 4, 4))
    with pytest.raises(UnsupportedOperatorError, match=named):
        TorchGraph(graph)


def test_without_torch_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "edgefer.graph.torch_module", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'edgefer\[torch\]'"):
        importlib.import_module("edgefer.graph.torch_module")
