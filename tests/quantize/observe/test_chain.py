from dataclasses import replace

import numpy as np
import pytest

from edgefer.graph.ir import Node
from edgefer.plan import Plan
from edgefer.quantize.observe import chain as module
from edgefer.quantize.observe.chain import Chain
from tests.emit.harness import sample, values_of
from tests.graph.networks import RESIDUAL, network, numbers

TEXT = (
    RESIDUAL
    + """\
d = Conv<kernel_shape=[1, 1]>(c, u)
y = Relu(d)
z = Tanh(d)
"""
)
WEIGHTS = {"w": numbers(4, 3, 1, 1), "v": numbers(4, 4, 1, 1, seed=1), "u": numbers(4, 4, 1, 1, seed=2)}


@pytest.fixture
def graph():
    return network(TEXT, "y z", WEIGHTS)


@pytest.fixture
def feeds(graph):
    return [sample(graph, seed) for seed in range(3)]


@pytest.fixture
def opened(monkeypatch):
    """The networks that sessions were opened for."""
    count = []
    open_one = module.runnable
    monkeypatch.setattr(module, "runnable", lambda *args, **how: count.append(None) or open_one(*args, **how))
    return count


@pytest.mark.parametrize(
    ("values", "inputs", "outputs"),
    [
        (["a"], ("x",), ("m",)),
        (["s"], ("a",), ("m",)),
        (["b"], ("m",), ("c",)),
        (["m"], ("a",), ("c",)),
        (["s", "b"], ("a",), ("c",)),
        (["v"], ("m",), ("c",)),
        (["d"], ("c",), ("y", "z")),
        ([], ("x",), ("y", "z")),
    ],
)
def test_a_part_makes_and_reads_the_values_and_no_more(graph, feeds, values, inputs, outputs):
    part = Chain(feeds, graph.outputs).part(graph, values)
    assert (part.graph.inputs, part.graph.outputs) == (inputs, outputs)
    for feed, reached in zip(feeds, part.feeds, strict=True):
        np.testing.assert_allclose(reached[inputs[0]], values_of(graph, feed)[inputs[0]], 1e-5, 1e-6)


@pytest.mark.parametrize("order", [["a", "m", "b", "d"], ["d", "b", "m", "a"]])
def test_all_that_follows_a_part_is_computed(graph, feeds, order):
    chain = Chain(feeds, graph.outputs)
    for value in order:
        part = chain.part(graph, [value])
        rows = chain.finish(part, Plan())(part.feeds)
        for feed, row in zip(feeds, rows, strict=True):
            expected = values_of(graph, feed)
            np.testing.assert_allclose(row[0], expected["y"], 1e-5, 1e-6)
            np.testing.assert_allclose(row[1], expected["z"], 1e-5, 1e-6)


def test_a_graph_with_other_weights_is_run_with_them(graph, feeds):
    chain = Chain(feeds, graph.outputs)
    chain.finish(chain.part(graph, ["s"]), Plan())
    other = graph.with_constants({"w": 2 * WEIGHTS["w"], "u": 3 * WEIGHTS["u"]})
    rows = chain.finish(part := chain.part(other, ["s"]), Plan())(part.feeds)
    for feed, row in zip(feeds, rows, strict=True):
        np.testing.assert_allclose(row[0], values_of(other, feed)["y"], 1e-5, 1e-6)


def test_a_graph_with_other_nodes_is_run_with_them(graph, feeds):
    chain = Chain(feeds, graph.outputs)
    chain.finish(chain.part(graph, ["d"]), Plan())
    nodes = [replace(node, op="Tanh") if node.op == "Sigmoid" else node for node in graph.nodes]
    other = graph.with_nodes([*nodes, Node("unused", "Relu", ("x",), ("unused",))], {"unused": graph.info["x"]})
    rows = chain.finish(part := chain.part(other, ["d"]), Plan())(part.feeds)
    for feed, row in zip(feeds, rows, strict=True):
        np.testing.assert_allclose(row[0], values_of(other, feed)["y"], 1e-5, 1e-6)


def test_a_second_question_runs_only_the_part_it_is_about(graph, feeds, opened):
    chain = Chain(feeds, graph.outputs)
    part = chain.part(graph, ["b"])
    chain.finish(part, Plan())
    before = len(opened)
    part = chain.part(graph, ["b"])
    chain.finish(part, Plan())
    assert len(opened) - before == 1
