import numpy as np
import pytest

from edgefer.graph.passes import normalise
from edgefer.quantize.int8 import plan_int8, stored_alike, tensors_to_observe
from edgefer.quantize.refine import refine
from edgefer.quantize.sensitivity import Sensitivity
from edgefer.quantize.statistics import collect
from tests.graph.networks import network, numbers

TEXT = "a = Conv(x, w)\nm = Conv(a, v)\ny = GlobalAveragePool(m)"
FEEDS = [numbers(1, 3, 5, 5, seed=seed) for seed in range(32)]


def refined(loudness):
    """The network, its Plan, and what is refined of `a`, whose first channel is so loud and read by nothing."""
    first, second = numbers(4, 3, 1, 1), numbers(2, 4, 1, 1, seed=1)
    first[0] *= loudness
    second[:, 0] = 0
    graph = normalise(network(TEXT, "y", {"w": first, "v": second}))
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), FEEDS))
    seen = []
    groups = [("a",)]
    found = refine(graph, plan, groups, Sensitivity(graph, ["y"], FEEDS), lambda: seen.append(None))
    assert len(seen) == len(groups)
    return graph, plan, found


def test_a_range_gives_up_what_the_heads_do_not_read():
    graph, plan, found = refined(4)
    (narrow,), (wide,) = found["a"].scale, plan.tensors["a"].scale
    assert narrow == pytest.approx(0.87 * wide, rel=0.01)
    sensitivity = Sensitivity(graph, ["y"], FEEDS)
    assert sensitivity.noise_of(graph, found) < 0.95 * sensitivity.noise_of(graph, {"a": plan.tensors["a"]})


def test_a_range_stays_where_no_other_is_clearly_better(monkeypatch):
    monkeypatch.setattr(Sensitivity, "noise_of", lambda *_: next(noises))
    noises = iter([1.0, 0.96, 0.97, 1.2, 1.1, 1.3])
    assert refined(1)[2] == {}


def test_activations_stored_alike_are_one_group():
    graph = network(
        "a = Conv(x, w)\nr = Relu(a)\ns = Sigmoid(r)\ny = Conv(s, v)",
        "y",
        {"w": numbers(4, 3, 1, 1), "v": numbers(4, 4, 1, 1)},
    )
    assert stored_alike(graph) == (("x",), ("a", "r"), ("y",))
    assert np.concatenate(stored_alike(graph)).tolist() == list(tensors_to_observe(graph))
