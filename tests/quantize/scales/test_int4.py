import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefer.plan import Plan
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int4 import can_be_int4, int4_params, with_int4
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from tests.emit.harness import sample
from tests.graph.networks import network, numbers


@given(arrays(np.float32, (3, 4), elements=st.floats(-8, 8, width=32)))
def test_int4_scales_are_at_least_as_good_as_those_of_the_largest_weights(weights):
    params = int4_params(weights, 0, np.zeros(3))
    scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-6) / 7
    plain = np.clip(np.rint(weights / scale), -7, 7) * scale
    found = params.dequantize(params.quantize(weights))
    assert np.square(found - weights).sum() <= np.square(plain - weights).sum() * 1.001 + 1e-9
    assert params.limits == (-7, 7)
    assert len(params.scale) == 3 and min(params.scale) > 0


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Conv(x, point, bias)", True),
        ("Conv(x, point)", True),
        ("Conv<strides=[2, 2]>(x, point)", False),
        ("Conv<pads=[1, 1, 1, 1]>(x, point)", False),
        ("Conv(x, taps)", False),
        ("Conv<group=3>(x, deep)", False),
        ("Conv(x, odd)", False),
        ("Sigmoid(x)", False),
    ],
)
def test_products_alone_can_have_int4_weights(node, expected):
    constants = {
        "point": numbers(4, 3, 1, 1),
        "bias": numbers(4),
        "taps": numbers(4, 3, 3, 3),
        "deep": numbers(6, 1, 3, 3),
        "odd": numbers(5, 3, 1, 1),
    }
    graph = network(f"y = {node}", "y", constants)
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [sample(graph)]))
    assert can_be_int4(graph, plan, graph.nodes[0]) is expected
    assert not can_be_int4(graph, Plan(), graph.nodes[0])


def test_biases_follow_their_weights():
    graph = network("y = Conv(x, w, b)", "y", {"w": numbers(4, 3, 1, 1), "b": numbers(4)})
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [sample(graph)]))
    packed = with_int4(graph, plan, graph.nodes)
    step = np.float32(plan.tensors["x"].scale[0])
    np.testing.assert_array_equal(packed.tensors["b"].scale, step * np.float32(packed.tensors["w"].scale))
    assert packed.nodes == plan.nodes
    assert not can_be_int4(graph, packed, graph.nodes[0])


def test_a_bias_beside_tiny_weights_can_be_stored():
    weights = numbers(4, 3, 1, 1)
    weights[2] *= 1e-12
    graph = network("y = Conv(x, w, b)", "y", {"w": weights, "b": np.full(4, 2, np.float32)})
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [sample(graph)]))
    params = with_int4(graph, plan, graph.nodes).tensors["b"]
    np.testing.assert_allclose(
        params.dequantize(params.quantize(graph.constants["b"])), graph.constants["b"], rtol=1e-2
    )
