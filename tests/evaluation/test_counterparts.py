import numpy as np
import pytest

from edgefer.evaluation.counterparts import find_counterparts
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.regions import divide, find_region, keep, permute, scale
from edgefer.runtime.runners import onnx_session
from tests.graph.networks import network, numbers

TEXT = """
a = Conv(x, w, b)
s = Relu(a)
d = Conv<group=6, kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(s, k)
e = Conv(d, r)
y = Conv(e, last)
"""
WEIGHTS = {
    "w": numbers(6, 3, 1, 1),
    "b": numbers(6),
    "k": numbers(6, 1, 3, 3),
    "r": numbers(5, 6, 1, 1),
    "last": numbers(2, 5, 1, 1),
}
ORDER = [4, 0, 5, 2, 1, 3]
FACTORS = np.array([0.2, 3, 1, 10, 0.5, 2])


@pytest.fixture
def reference():
    return network(TEXT, "y", WEIGHTS)


def run(graph, names, image):
    return dict(zip(names, onnx_session(to_onnx(graph, names)).run(names, {"x": image}), strict=True))


def parts(graph):
    region = find_region(graph, "a")
    return divide(permute(graph, region, ORDER), region, ("a", "s", "d"), (2, 4))[0]


@pytest.mark.parametrize(
    "treat",
    [
        pytest.param(lambda graph: graph, id="as they were"),
        pytest.param(lambda graph: permute(graph, find_region(graph, "a"), ORDER), id="in another order"),
        pytest.param(lambda graph: keep(graph, find_region(graph, "a"), [5, 1, 2]), id="some are left out"),
        pytest.param(lambda graph: scale(graph, find_region(graph, "a", "scale"), FACTORS), id="multiplied"),
        pytest.param(parts, id="in parts"),
    ],
)
def test_channels_are_known_again_however_they_were_treated(reference, treat):
    treated = treat(reference)
    tensors = [node.output for node in treated.nodes if node.op != "Concat" and node.output not in ("e", "y")]
    images = [numbers(1, *reference.shape("x")[1:]) + index for index in range(3)]
    found = find_counterparts(reference, treated, tensors, [{"x": image} for image in images])
    assert found.keys() == set(tensors)
    for image in images:
        held = run(treated, tensors, image)
        original = run(reference, [each.name for each in found.values()], image)
        for tensor, counterpart in found.items():
            np.testing.assert_allclose(counterpart.of(original[counterpart.name]), held[tensor], rtol=1e-3, atol=1e-3)


def test_channels_that_are_where_they_were_are_taken_as_they_are(reference):
    found = find_counterparts(reference, reference, ["a", "s", "d"], [{"x": numbers(1, *reference.shape("x")[1:])}])
    assert all(each.channels is None and each.factors is None for each in found.values())


def test_a_tensor_that_the_float_network_lacks_has_no_counterpart(reference):
    other = network(TEXT.replace("d =", "new =").replace("(d,", "(new,"), "y", WEIGHTS)
    found = find_counterparts(reference, other, ["a", "s", "new"], [{"x": numbers(1, *reference.shape("x")[1:])}])
    assert found.keys() == {"a", "s"}
