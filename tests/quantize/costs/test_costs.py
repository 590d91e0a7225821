import json
from dataclasses import replace

import pytest

from edgefer.quantize.costs.cost import CostModel, Line
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.quantize.costs.probes import FEW, MANY, fitted, measured_costs


def test_a_cost_model_survives_plain_data():
    model = replace(LITERT_X86, machine="a board", overstates=1.0)
    assert CostModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data["lines"].pop("Dense"), KeyError),
        (lambda data: data["lines"]["Dense"].pop("int8"), KeyError),
        (lambda data: data["lines"]["Dense"]["int8"].pop("per_mac"), KeyError),
        (lambda data: data["lines"]["Dense"]["int8"].update(per_mac=-1), ValueError),
        (lambda data: data["lines"]["Dense"]["int8"].update(per_mac="many"), ValueError),
        (lambda data: data["lines"]["Dense"]["int8"].update(per_mac=None), TypeError),
        (lambda data: data["conversion"].update(per_node=float("nan")), ValueError),
        (lambda data: data.update(conversion={"per_node": 0, "per_element": 0, "per_mac": 0}), ValueError),
        (lambda data: data.update(lines=None), TypeError),
    ],
)
def test_costs_that_make_no_sense_are_refused(change, error):
    data = json.loads(json.dumps(LITERT_X86.to_dict()))
    change(data)
    with pytest.raises(error):
        CostModel.from_dict(data)


def test_a_line_is_found_again_and_no_coefficient_is_negative():
    sizes = [(100, 0), (200, 5000), (1000, 100), (50, 90_000)]
    line = Line(30, 0.5, 0.02)
    assert fitted([(line.at(*size), *size) for size in sizes]) == line
    assert fitted([(0.02 * size[1] - 3, *size) for size in sizes[1:]]).per_node == 0
    assert fitted([(7, 100, 0), (7, 900, 0)]) == Line(7, 0, 0)
    with pytest.raises(ValueError, match="cost nothing"):
        fitted([(0, 100, 0), (-1, 900, 0)])


def test_a_machine_is_measured_by_what_many_copies_take_longer_than_few(monkeypatch):
    monkeypatch.setattr("edgefer.quantize.costs.probes.emit_tflite", lambda graph, plan: (graph, plan))
    launch = 1e5
    truth = replace(LITERT_X86, machine="a board")

    def cost(file):
        graph, plan = file
        assert len(graph.nodes) in (FEW, MANY)
        computes = ["int8" if plan.is_int8(node.name) else "float" for node in graph.nodes]
        nodes = sum(truth.of_node(graph, node, compute) for node, compute in zip(graph.nodes, computes, strict=True))
        converted = [value for value in graph.inputs if value in plan.tensors and "float" in computes]
        return launch + nodes + sum(truth.of_conversion(graph, value) for value in converted)

    found = measured_costs("a board", "ns", lambda groups: [[cost(file) for file in group] for group in groups])
    assert (found.machine, found.unit) == ("a board", "ns")
    assert found.lines.keys() == truth.lines.keys()
    for key, line in found.lines.items():
        assert line == pytest.approx(truth.lines[key], rel=0.01, abs=1e-4), key
    assert found.conversion == pytest.approx(truth.conversion, rel=0.01)
