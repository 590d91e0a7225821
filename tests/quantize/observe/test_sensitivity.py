import numpy as np

from edgefer.graph.passes import normalise
from edgefer.plan import QuantParams
from edgefer.quantize.observe.sensitivity import Sensitivity
from tests.graph.networks import network, numbers

CONSTANTS = {"w": numbers(4, 3, 1, 1), "seven": numbers(7, 4, seed=1)}
GRAPH = normalise(
    network(
        "a = Conv(x, w)\nr = Relu(a)\np = GlobalAveragePool(r)\nf = Flatten(p)\ny = Gemm<transB=1>(f, seven)",
        "y",
        CONSTANTS,
    )
)
STORED = {"a": QuantParams("int8", (0.05,), (0,))}


def feeds(loudest):
    """Sixteen inputs, the last so many times louder than the others, which saturates."""
    found = [numbers(1, 3, 5, 5, seed=seed) for seed in range(16)]
    return [{"x": each} for each in (*found[:-1], np.float32(loudest) * found[-1])]


def noise_of(loudest):
    return Sensitivity(GRAPH, ["y"], feeds(loudest)).noise_of(GRAPH, STORED)


def test_one_image_unlike_fifteen_others_does_not_decide_what_a_tensor_costs():
    assert noise_of(100) < 3 * noise_of(1)
    assert 0 < noise_of(1) < 0.01


def test_what_clearly_does_not_matter_is_told_after_a_few_images_from_all_over_the_set():
    images = feeds(1)
    of_all, of_some = (Sensitivity(GRAPH, ["y"], some).noise_of(GRAPH, STORED) for some in (images, images[::2]))
    assert of_all != of_some
    found = [Sensitivity(GRAPH, ["y"], images).noise_of(GRAPH, STORED, matters) for matters in (2.1 * of_some, of_some)]
    assert found == [of_some, of_all]
