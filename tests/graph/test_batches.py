import numpy as np
import pytest

from edgefer.graph.batches import images_at_once
from tests.graph.networks import network, numbers

FACTOR = numbers(3, 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "y = Mul(x, k)",
        "a = GlobalAveragePool(x)\nb = Flatten<axis=1>(a)\ny = Gemm<transB=1>(b, w)",
        "a = Sigmoid(x)\nb = Mul(x, a)\ny = Concat<axis=1>(a, b)",
        "y = Transpose<perm=[0, 2, 3, 1]>(x)",
        "y = Softmax<axis=1>(x)",
        "y = Slice(x, zero, one, one)",
    ],
)
def test_operators_that_keep_images_apart_take_several(text):
    whole = {"zero": np.array([0]), "one": np.array([1])}
    assert images_at_once(network(text, "y", {"k": FACTOR, "w": numbers(4, 3), **whole})) > 1


@pytest.mark.parametrize(
    "text",
    [
        "y = Concat<axis=0>(x, x)",
        "y = Transpose<perm=[1, 0, 2, 3]>(x)",
        "y = Flatten<axis=0>(x)",
        "y = Mul(x, many)",
        "y = Softmax<axis=0>(x)",
        "y = Slice(x, zero, one, zero)",
        "a = Sigmoid(k)\ny = Mul(x, a)",
    ],
)
def test_others_take_one(text):
    whole = {"zero": np.array([0]), "one": np.array([1])}
    assert images_at_once(network(text, "y", {"k": FACTOR, "many": numbers(2, 3, 1, 1), **whole})) == 1


def test_large_maps_run_one_by_one():
    assert images_at_once(network("y = Relu(x)", "y", x=(1, 64, 224, 224))) == 1
