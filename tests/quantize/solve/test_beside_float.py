"""Where parts compute in float anyway, others do that are worth it."""

import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.passes import normalise
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.solve.beside_float import beside_float, computes_in_float


def network(activation):
    """A loud layer that few numbers of matter, before many that a wide layer computes."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("network")
    x = build.input("image", (1, 3, 16, 16))
    loud = rng.normal(size=(8, 3, 1, 1)).astype(np.float32)
    loud[0] *= 1000
    x = build.op(activation, "act", build.conv("loud", x, loud, np.zeros(8, np.float32)))
    fading = rng.normal(size=(64, 8, 3, 3)).astype(np.float32) / 8
    fading[:, 0] /= 1000
    x = build.op(activation, "act2", build.conv("wide", x, fading, np.zeros(64, np.float32), padding=1))
    x = build.flatten("flat", build.global_average_pool("pool", x))
    return normalise(
        build.graph(build.linear("y", x, rng.normal(size=(5, 64)).astype(np.float32), np.zeros(5, np.float32)))
    )


@pytest.fixture(scope="module")
def chosen():
    graph = network("HardSwish")
    feeds = [{"image": np.random.default_rng(seed).normal(size=(1, 3, 16, 16)).astype(np.float32)} for seed in range(9)]
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), feeds))
    assert computes_in_float(graph, plan, frozenset())
    return beside_float(graph, plan, Sensitivity(graph, ["y"], feeds), EVERYWHERE)


def test_a_layer_whose_result_int8_holds_badly_computes_in_float(chosen):
    worth_it, most = chosen
    assert "loud" in worth_it
    assert "loud" in most


def test_what_would_take_longer_than_is_allowed_stays_in_int8(chosen):
    assert "wide" not in chosen[1]


def test_a_network_of_integer_kernels_alone_is_none_of_these():
    graph = network("Relu")
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [{"image": np.ones((1, 3, 16, 16), np.float32)}]))
    assert not computes_in_float(graph, plan, frozenset())
