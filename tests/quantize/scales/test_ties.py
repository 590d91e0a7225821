"""No result of an integer kernel lies halfway between two integers."""

import numpy as np
import pytest

from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.ranges import affine, hard_swish
from edgefer.quantize.scales.ties import avoid_ties
from tests.emit.harness import sample
from tests.graph.networks import network, numbers

CONSTANTS = {"v": numbers(3, 3, 1, 1), "r": numbers(1, 3, 1, 1, seed=1)}


def planned(graph):
    feeds = [sample(graph, seed) for seed in range(4)]
    return plan_int8(graph, collect(graph, tensors_to_observe(graph), feeds))


def distance_of_a_sigmoid(params):
    """From the nearest tie, in steps of its output."""
    integers = np.arange(-128, 128) - params.zero_point[0]
    steps = 256 / (1 + np.exp(-params.scale[0] * integers))
    return np.abs(steps % 1 - 0.5).min()


def is_whole(number):
    return number == pytest.approx(round(number), abs=1e-2)


@pytest.mark.parametrize("node", ["Mul(a, r)", "Mul(r, a)", "Mul(a, x)"])
def test_products_are_whole_odd_fractions(node):
    graph = network(f"a = Conv(x, v)\ny = {node}", "y", CONSTANTS)
    scales = {name: params.scale[0] for name, params in planned(graph).tensors.items()}
    product = np.prod([scales[name] for name in graph.producers["y"].inputs])
    assert is_whole(product / scales["y"] * 16383)


@pytest.mark.parametrize("seed", range(8))
def test_sigmoids_keep_away_from_ties_and_their_inputs_stay_whole_odd_fractions(seed):
    graph = network("a = Conv(x, v)\nb = Mul(a, r)\ns = Sigmoid(b)\ny = Mul(a, s)", "y", CONSTANTS)
    images = [sample(graph, 10 * seed + index) for index in range(2)]
    tensors = plan_int8(graph, collect(graph, tensors_to_observe(graph), images)).tensors
    assert distance_of_a_sigmoid(tensors["b"]) > 1e-3
    for name, factors in (("b", ("a", "r")), ("y", ("a", "s"))):
        product = np.prod([tensors[factor].scale[0] for factor in factors])
        assert is_whole(product / tensors[name].scale[0] * 16383)


def test_names_decide_nothing():
    weights = {"v": CONSTANTS["v"], "w": numbers(3, 3, 1, 1, seed=2)}
    first, second = (
        network(f"{a} = Conv(x, v)\n{b} = Conv(x, w)\ny = Add({b}, {a})", "y", weights) for a, b in ("ab", "ba")
    )
    renamed = {"a": "b", "b": "a"}
    tensors = {renamed.get(name, name): params for name, params in planned(second).tensors.items()}
    assert planned(first).tensors == tensors


def test_a_scale_is_nudged_no_further_than_it_takes():
    graph = network("y = Sigmoid(x)", "y")
    near = next(params for params in map(near_zero, np.arange(2, 3, 1e-4)) if distance_of_a_sigmoid(params) < 1e-4)
    chosen = {"x": near, "y": near}
    avoid_ties(graph, graph.nodes, lambda value: value, chosen, {"y"})
    assert distance_of_a_sigmoid(chosen["x"]) > 1e-3
    assert near.scale[0] < chosen["x"].scale[0] < 1.001 * near.scale[0]


def near_zero(width):
    return affine(-width, width)


def test_what_is_prescribed_stays():
    graph = network("y = Sigmoid(x)", "y")
    near = next(params for params in map(near_zero, np.arange(2, 3, 1e-4)) if distance_of_a_sigmoid(params) < 1e-4)
    chosen = {"x": near, "y": near}
    avoid_ties(graph, graph.nodes, lambda value: value, chosen, {"x", "y"})
    assert chosen["x"] == near


@pytest.mark.parametrize("quiet", ["a", "b"])
def test_an_operand_far_quieter_than_the_sum_ruins_neither(quiet):
    scales = {name: 1e-5 if name == quiet else 1.0 for name in "ab"}
    graph = network("a = Conv(x, v)\nb = Neg(a)\ny = Add(a, b)", "y", CONSTANTS)
    chosen = {name: affine(-100 * scales.get(name, 1), 100 * scales.get(name, 1)) for name in ("x", "a", "b", "y")}
    before = dict(chosen)
    avoid_ties(graph, graph.nodes, lambda value: value, chosen, set())
    assert {name: params.scale[0] for name, params in chosen.items()} == pytest.approx(
        {name: params.scale[0] for name, params in before.items()}, rel=0.07
    )


def test_a_mean_of_very_many_keeps_its_scale():
    graph = network("a = Neg(x)\ny = GlobalAveragePool(a)", "y", x=(1, 3, 192, 192))
    chosen = {name: affine(-1.0, 1.0) for name in ("x", "a", "y")}
    avoid_ties(graph, graph.nodes, lambda value: value, chosen, set())
    assert chosen["y"] == affine(-1.0, 1.0)


def test_curves_that_float_computes_of_integers_keep_away_from_ties():
    graph = network("a = Conv(x, v)\nb = HardSwish(a)\ny = Conv(b, v)", "y", CONSTANTS)
    for seed in range(4):
        images = [sample(graph, 10 * seed + index) for index in range(2)]
        tensors = plan_int8(graph, collect(graph, tensors_to_observe(graph), images)).tensors
        (scale,), (zero_point,) = tensors["a"].scale, tensors["a"].zero_point
        steps = hard_swish(scale * (np.arange(-128, 128) - zero_point)) / tensors["b"].scale[0]
        assert np.abs(steps % 1 - 0.5).min() > 9e-4
