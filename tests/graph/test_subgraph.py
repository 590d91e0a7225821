import numpy as np

from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.subgraph import cut_points, extract, observing, parts
from tests.emit.harness import run_model, sample, values_of
from tests.graph.networks import RESIDUAL, network, numbers

TEXT = RESIDUAL + "y = Relu(c)"
WEIGHTS = {"w": numbers(4, 3, 1, 1), "v": numbers(4, 4, 1, 1, seed=1)}


def test_a_cut_point_is_a_value_that_nothing_bypasses():
    graph = network(TEXT, "y", WEIGHTS)
    assert cut_points(graph) == ("a", "m", "c")


def test_what_follows_a_cut_point_depends_on_it_alone():
    graph = network(TEXT, "y", WEIGHTS)
    values = values_of(graph, sample(graph))
    for cut in cut_points(graph):
        rest = extract(graph, [cut], ["y"])
        assert "x" not in {value for node in rest.nodes for value in node.inputs}
        found = run_model(to_onnx(rest), {cut: values[cut]})
        np.testing.assert_allclose(found["y"], values["y"], 1e-5, 1e-6)


def test_there_is_no_cut_point_beside_a_value_that_is_returned():
    graph = network("a = Relu(x)\nb = Sigmoid(a)\ny = Tanh(b)", "a y")
    assert cut_points(graph) == ()


def test_a_graph_of_parallel_branches_has_no_cut_point():
    graph = network("a = Relu(x)\nb = Sigmoid(x)\ny = Add(a, b)", "y")
    assert cut_points(graph) == ()


def test_heads_part_at_a_cut_point():
    graph = network("a = Relu(x)\ny = Sigmoid(a)\nz = Tanh(a)", "y z")
    assert cut_points(graph) == ("a",)


def test_an_extract_holds_only_what_its_outputs_need():
    graph = network(TEXT, "y", WEIGHTS)
    part = extract(graph, ["m"], ["c"])
    assert [node.op for node in part.nodes] == ["Conv", "Add"]
    assert (part.inputs, part.outputs) == (("m",), ("c",))
    assert set(part.constants) == {"v"}


def test_an_observed_value_is_returned_under_a_name_of_its_own():
    graph = observing(network(TEXT, "y", WEIGHTS), ["m"])
    feeds = sample(graph)
    assert graph.outputs == ("observed/m",)
    values = values_of(graph, feeds)
    np.testing.assert_array_equal(values["observed/m"], values["m"])


def test_parts_follow_each_other_at_cut_points():
    graph = network(TEXT, "y", WEIGHTS)
    chain = parts(graph)
    assert [part.outputs for part in chain] == [("a",), ("m",), ("c",), ("y",)]
    assert [set(part.constants) for part in chain] == [{"w"}, set(), {"v"}, set()]
    values = sample(graph)
    for part in chain:
        values = run_model(to_onnx(part), values)
    np.testing.assert_allclose(values["y"], values_of(graph, sample(graph))["y"], 1e-5, 1e-6)


def test_a_graph_without_cut_points_is_one_part():
    graph = network("a = Relu(x)\nb = Sigmoid(x)\ny = Add(a, b)", "a y")
    (part,) = parts(graph)
    assert (part.nodes, part.inputs, part.outputs) == (graph.nodes, ("x",), ("a", "y"))
