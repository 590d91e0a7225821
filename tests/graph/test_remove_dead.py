from dataclasses import replace

from edgefer.graph.passes.remove_dead import remove_dead
from tests.graph.networks import assert_same_outputs, network, numbers, operators


def test_nodes_and_constants_that_no_output_needs_are_dropped():
    graph = network("a = Add(x, w)\nb = Mul(a, v)\ny = Relu(x)", "y", {"w": numbers(1), "v": numbers(1)})
    after = remove_dead(graph)
    assert operators(after) == ["Relu"]
    assert not after.constants
    assert set(after.info) == {"x", "y"}
    assert_same_outputs(graph, after)


def test_an_input_left_out_keeps_no_node_with_an_output_left_out():
    graph = network("a = Relu(x)\ny = Clip(x, , w)", "y", {"w": numbers(1).reshape(())})
    dead = replace(graph.nodes[0], outputs=("a", ""))
    after = remove_dead(graph.with_nodes([dead, graph.nodes[1]]))
    assert operators(after) == ["Clip"]


def test_a_node_with_one_of_its_outputs_read_stays():
    graph = network("a, b = Split<axis=3, num_outputs=2>(x)\ny = Relu(b)", "y")
    assert remove_dead(graph) is graph


def test_a_network_without_dead_nodes_is_returned_as_it_is():
    graph = network("a = Add(x, w)\ny = Relu(a)", "y", {"w": numbers(1)})
    assert remove_dead(graph) is graph
