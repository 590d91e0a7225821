from __future__ import annotations

from edgefer.plan import Plan, QuantParams
from edgefer.quantize.scales.equality import that_may_differ
from tests.graph.networks import network


def _params(scale: float) -> QuantParams:
    return QuantParams("int8", (scale,), (0,))


def _plan(graph, scales, floats=()):
    nodes = {node.name: "float" if node.op in floats else "int8" for node in graph.nodes}
    return Plan({value: _params(scale) for value, scale in scales.items()}, nodes)


def test_a_sum_that_can_lie_halfway_between_integers_may_differ():
    graph = network("y = Add(x, x)", "y", {}, x=(1, 2, 3, 3))
    assert that_may_differ(graph, _plan(graph, {"x": 0.5, "y": 2.0})) == ["Add (y)"]
    assert that_may_differ(graph, _plan(graph, {"x": 1.0, "y": 1.0})) == []


def test_only_linear_interpolation_in_int8_may_differ():
    sizes = {"sizes": [1, 2, 6, 6]}
    for mode, expected in (("linear", ["Resize (y)"]), ("nearest", [])):
        graph = network(f'y = Resize<mode="{mode}">(x, , , sizes)', "y", sizes, x=(1, 2, 3, 3))
        assert that_may_differ(graph, _plan(graph, {"x": 0.5, "y": 0.5})) == expected


def test_what_is_stored_of_a_curve_in_float_may_differ_and_of_a_single_product_may_not():
    graph = network("a = Mul(x, x)\nb = Exp(a)\ny = Relu(b)", "y", {}, x=(1, 2, 3, 3))
    plan = _plan(graph, {"a": 0.5, "b": 0.5, "y": 0.5}, floats=("Mul", "Exp"))
    assert that_may_differ(graph, plan) == ["Exp (b)"]


def test_a_curve_that_float_computes_of_integers_is_the_same_where_it_keeps_away_from_ties():
    graph = network("a = Relu(x)\nb = HardSwish(a)\ny = Relu(b)", "y", {}, x=(1, 2, 3, 3))
    for scale, expected in ((2.0, ["HardSwish (b)"]), (3.0, [])):  # 1 becomes 2 / 3: of 2.0 a third, of 3 of 1.0 a half
        plan = _plan(graph, {"x": 3.0, "a": 3.0, "b": scale, "y": scale}, floats=("HardSwish",))
        assert that_may_differ(graph, plan) == expected
