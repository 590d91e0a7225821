import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.batches import free_batch
from edgefer.graph.ir import Graph
from edgefer.graph.number_of_images import for_any_number, for_one_image
from edgefer.graph.onnx_io import to_onnx
from tests.emit.harness import run_model
from tests.graph.networks import network, numbers

COUNT = 4
SHAPE = (COUNT, 4, 6, 5)
TOKEN = numbers(1, 1, 4)


def ints(*values):
    return np.array(values)


CONSTANTS = {
    "w": numbers(8, 4, 3, 3),
    "m": numbers(30, 6),
    "c": numbers(6),
    "flat": ints(COUNT, -1),
    "groups": ints(COUNT, 2, 2, 6, 5),
    "again": ints(-1, 4, 6, 5),
    "merged": ints(-1, 30),
    "apart": ints(COUNT, 4, 30),
    "rows": ints(COUNT, 30, 4),
    "windows": ints(COUNT * 2, 2, 30),
    "bias": numbers(1, 2, 30),
    "wide": ints(COUNT, 4, 6, 5),
    "sizes": ints(COUNT, 4, 12, 10),
    "scales": np.float32([1, 1, 2, 2]),
    "token": np.broadcast_to(TOKEN, (COUNT, 1, 4)).copy(),
    "tokens": np.broadcast_to(TOKEN, (COUNT, 1, 4)).copy(),
    "heads": ints(30, COUNT * 2, 2),
    "back": ints(30, COUNT, 4),
    "unlike": numbers(COUNT, 1, 1, 1),
    "first": ints(0),
    "split": ints(4, COUNT, 30),
    "more": ints(1, 2, 0, 1),
    "sides": ints(-1, 1),
    "thrice": ints(3, 1, 1, 2),
    "zeros": ints(0, 1),
    "ends": ints(COUNT, 4),
    "firsts": ints(0, 2),
    "second": ints(1),
    "axes": ints(0),
    "lw": numbers(1, 12, 4),
    "lr": numbers(1, 12, 3),
    "lb": numbers(1, 24),
    "h0": np.zeros((1, COUNT, 3), np.float32),
}
NETWORKS = {
    "flatten": "a = Conv(x, w)\ny = Reshape(a, flat)",
    "channel shuffle": "a = Reshape(x, groups)\nb = Transpose<perm=[0, 2, 1, 3, 4]>(a)\ny = Reshape(b, again)",
    "a layer on rows": "a = Reshape(x, merged)\nb = Gemm(a, m, c)\ny = Relu(b)",
    "attention": "a = Reshape(x, apart)\nb = Transpose<perm=[0, 2, 1]>(a)\nc1 = MatMul(b, a)\n"
    "d = Softmax(c1)\ny = MatMul(d, b)",
    "heads beside the batch": "a = Reshape(x, apart)\nb = Transpose<perm=[2, 0, 1]>(a)\nd = Reshape(b, heads)\n"
    "e = Transpose<perm=[1, 0, 2]>(d)\nf = Transpose<perm=[0, 2, 1]>(e)\ng = MatMul(e, f)\ns = Softmax(g)\n"
    "i = MatMul(s, e)\nj = Transpose<perm=[1, 0, 2]>(i)\nk = Reshape(j, back)\ny = Transpose<perm=[1, 0, 2]>(k)",
    "a class token": "a = Reshape(x, rows)\nb = Concat<axis=1>(token, a)\ny = Mul(b, tokens)",
    "a bias of windows": "a = Reshape(x, windows)\nb = Add(a, bias)\ny = Reshape(b, again)",
    "expand": "a = GlobalMaxPool(x)\ny = Expand(a, wide)",
    "resize": 'y = Resize<mode="linear">(x, , , sizes)',
    "resize by scales": 'y = Resize<mode="linear">(x, , scales)',
    "both halves": "a = Neg(x)\nb = Concat<axis=0>(x, a)\nd = Conv(b, w)\ny = Relu(d)",
    "squeeze": "a = GlobalAveragePool(x)\nb = Squeeze(a)\ny = Softmax(b)",
    "axes more and fewer": "a = Unsqueeze(x, axes)\nb = Sigmoid(a)\nd = Squeeze(b, axes)\ny = Neg(d)",
    "flat on either side": "a = Transpose<perm=[1, 0, 2, 3]>(x)\nb = Flatten<axis=2>(a)\nd = Neg(b)\n"
    "e = Reshape(d, split)\ny = Transpose<perm=[1, 0, 2]>(e)",
    "borders of some axes": "y = Pad(x, more, , sides)",
    "repeated": "a = Transpose<perm=[1, 0, 2, 3]>(x)\nb = Tile(a, thrice)\ny = Transpose<perm=[1, 0, 2, 3]>(b)",
    "a slice of all": "y = Slice(x, zeros, ends, firsts)",
    "recurrent": "a = Reshape(x, apart)\nb = Transpose<perm=[2, 0, 1]>(a)\n"
    "z, h = LSTM<hidden_size=3>(b, lw, lr, lb, , h0)\ny = Transpose<perm=[1, 0, 2]>(h)",
}


@pytest.mark.parametrize("text", NETWORKS.values(), ids=list(NETWORKS))
def test_one_image_gives_what_it_gives_among_any_others(text):
    graph = network(text, "y", CONSTANTS, SHAPE)
    one = for_one_image(graph)
    images = numbers(*SHAPE, seed=5)
    together = run_model(to_onnx(graph), {"x": images})["y"]
    alone = run_model(to_onnx(one), {"x": images[:1]})["y"]
    assert alone.shape == one.shape("y")
    first = together[::COUNT] if "axis=0" in text else together[: len(alone)]
    np.testing.assert_allclose(alone, first, 1e-5, 1e-6)
    assert for_one_image(one) is one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = ReduceMean(x, axes)\ny = Sub(x, a)", r"\(ReduceMean\) mixes the 4 images of a batch"),
        ("y = Softmax<axis=0>(x)", r"\(Softmax\) mixes the 4 images"),
        ("a = Gather<axis=0>(x, second)\ny = Relu(a)", r"\(Gather\) mixes the 4 images"),
        ("a = Transpose<perm=[3, 1, 2, 0]>(x)\ny = Mul(a, x)", r"\(Mul\) mixes the 4 images"),
        ("y = Mul(x, unlike)", r"\(Mul\) treats the 4 images of a batch differently, by 'unlike'"),
        ("y = CumSum(x, first)", r"\(CumSum\): how it takes a batch of 4 images apart is not known"),
    ],
)
def test_what_mixes_the_images_of_a_batch_is_named(text, message):
    constants = {**CONSTANTS, "first": np.array(1)}
    shape = (COUNT, 4, 6, COUNT) if "perm" in text else SHAPE
    with pytest.raises(InputError, match=message) as caught:
        for_one_image(network(text, "y", constants, shape))
    assert "one image as its example" in caught.value.remedy


def test_a_graph_of_one_image_is_handed_back():
    graph = network("y = Relu(x)", "y", {}, (1, 3, 4, 4))
    assert isinstance(graph, Graph)
    assert for_one_image(graph) is graph


OF_ONE = {"both halves", "recurrent", "a layer on rows"}  # with a number in a constant, or returned


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in OF_ONE])
def test_any_number_of_images_give_what_they_give_alone(name):
    one = for_one_image(network(NETWORKS[name], "y", CONSTANTS, SHAPE))
    graph = for_any_number(one)
    model = to_onnx(graph)
    free_batch(model)
    for count in (1, 3, COUNT):
        images = numbers(count, *SHAPE[1:], seed=6)
        together = run_model(model, {"x": images})["y"]
        alone = [run_model(to_onnx(one), {"x": image[np.newaxis]})["y"] for image in images]
        np.testing.assert_allclose(together, np.concatenate(alone), 1e-5, 1e-6)
    if name != "a class token":  # of which there are as many as images
        assert for_any_number(graph) == graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y = Softmax<axis=0>(x)", r"\(Softmax\) mixes the images of a batch"),
        ("y = Concat<axis=0>(x, x)", "the first axis of 'y'"),
        ("y = Transpose<perm=[1, 0, 2, 3]>(x)", "the first axis of 'y'"),
        ("y = Mul(x, many)", r"\(Mul\): how it would take several images is not known"),
        ("a = Squeeze(x, axes)\ny = Unsqueeze(a, axes)", r"\(Squeeze\): how it would take"),
        ("a = Unsqueeze(x, axes)\nb = Relu(a)\ny = Flatten<axis=1>(b)", "the first axis of 'y'"),
        ("y = Flatten<axis=0>(x)", "the first axis of 'y'"),
        ("y = Tile(x, twice)", r"\(Tile\) mixes"),
        ("y = Pad(x, border)", r"\(Pad\) mixes"),
        ("y = GridSample(x, grid)", r"\(GridSample\): how it would take"),
        ("a = Reshape(x, merged)\nb = Mul(a, rows)\ny = Reshape(b, like)", r"\(Mul\): how it would take"),
    ],
)
def test_a_network_that_takes_no_other_number_is_told_by_name(text, message):
    constants = {
        **CONSTANTS,
        "many": numbers(3, 4, 1, 1),
        "twice": ints(2, 1, 1, 1),
        "border": ints(1, 0, 0, 0, 0, 0, 0, 0),
        "grid": numbers(1, 3, 3, 2),
        "rows": numbers(4, 30),
        "like": ints(1, 4, 6, 5),
        **{name: np.where(CONSTANTS[name] == COUNT, 1, CONSTANTS[name]) for name in ("merged",)},
    }
    with pytest.raises(InputError, match=message):
        for_any_number(network(text, "y", constants, (1, *SHAPE[1:])))
