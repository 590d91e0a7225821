import json

import pytest

from edgefer.quantize.costs.cost import TILE, CostModel, Line, Work, work
from edgefer.quantize.costs.machines import EVERYWHERE, LITERT_A72, LITERT_A76, LITERT_X86, TARGETS
from edgefer.quantize.costs.prices import WORTH, Prices, node_works
from tests.graph.networks import network, numbers

GRAPH = network("y = Conv(x, w)", "y", {"w": numbers(TILE, 3, 1, 1)})
ADD = Work("Elementwise", 10, 25.0)


def machine(name, line):
    return CostModel(name, "ns", dict.fromkeys(LITERT_X86.lines, line), Line(1, 0, 0))


def test_a_price_is_a_share_of_the_network():
    node = GRAPH.nodes[0]
    whole = LITERT_X86.of_node(GRAPH, node, "int8")
    prices = Prices(GRAPH, [LITERT_X86])
    assert prices.of([], [work(GRAPH, node)]) == pytest.approx(WORTH)
    assert prices.of([], [ADD, ADD]) == pytest.approx(2 * WORTH * LITERT_X86.of_work(ADD, "int8") / whole)
    assert prices.of([ADD], []) == pytest.approx(-prices.of([], [ADD]))


def test_the_machine_counts_on_which_a_treatment_costs_most_or_saves_least():
    by_node, by_element = machine("by node", Line(1, 0, 0)), machine("by element", Line(0, 1, 0))
    both, of_node, of_element = (Prices(GRAPH, m) for m in ([by_node, by_element], [by_node], [by_element]))
    many, large = [ADD] * 3, [Work("Elementwise", 10, 1000.0)]
    for change in (([], many), ([], large), (many, []), (large, [])):
        assert both.of(*change) == max(of_node.of(*change), of_element.of(*change))


def test_kernels_compute_whole_tiles_of_channels():
    dense = Work("Dense", TILE + 1, 25.0, 3.0)
    assert dense.size == Work("Dense", 2 * TILE, 25.0, 3.0).size
    assert Work("Elementwise", TILE + 1, 25.0).size == ((TILE + 1) * 25, 0)


def test_the_product_of_a_silu_is_looked_up_with_its_sigmoid():
    graph = network("s = Sigmoid(x)\ny = Mul(x, s)", "y", {})
    assert [each.kind for each in node_works(graph, graph.nodes)] == ["Sigmoid"]


def test_every_target_has_its_machines_and_all_of_them_count_where_none_is_named():
    named = [model.machine for machines in TARGETS.values() for model in machines]
    assert set(named) == {model.machine for model in EVERYWHERE}
    for model in EVERYWHERE:
        assert CostModel.from_dict(json.loads(json.dumps(model.to_dict()))).lines == model.lines
    dense = [model.lines["Dense", "int8"].per_mac for model in (LITERT_A72, LITERT_A76)]
    assert dense[1] < dense[0] / 2  # dot products
