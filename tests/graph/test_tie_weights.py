import numpy as np
import pytest

from edgefer.graph.passes import normalise
from edgefer.graph.passes.tie_weights import tie_weights
from tests.graph.networks import assert_same_outputs, network, norm_constants, numbers

IMAGE = (1, 32, 5, 5)
BRANCHES = "a = Conv(x, v)\nh = MaxPool<kernel_shape=[3, 3]>(x)\nb = Conv(h, w)\n"


def weights_of(graph):
    return {node.inputs[1] for node in graph.nodes if node.op == "Conv"}


def test_layers_with_equal_weights_read_one_constant():
    weights = numbers(16, 32, 3, 3)
    graph = network(BRANCHES + "y = Flatten(a)\nz = Flatten(b)", "y z", {"v": weights, "w": weights.copy()}, IMAGE)
    after = tie_weights(graph)
    assert weights_of(after) == {"v"}
    assert_same_outputs(graph, after)
    assert tie_weights(after) is after


@pytest.mark.parametrize("other", [numbers(16, 32, 3, 3, seed=1), -numbers(16, 32, 3, 3)])
def test_other_weights_stay_apart(other):
    graph = network(BRANCHES + "y = Flatten(a)", "y b", {"v": numbers(16, 32, 3, 3), "w": other}, IMAGE)
    assert tie_weights(graph) is graph


def test_few_weights_stay_apart():
    few = numbers(2, 32, 3, 3)
    graph = network(BRANCHES + "y = Flatten(a)", "y b", {"v": few, "w": few.copy()}, IMAGE)
    assert tie_weights(graph) is graph


def test_a_layer_used_twice_with_its_norm_is_still_stored_once():
    norm = "BatchNormalization({}, gamma, beta, mean, variance)"
    text = BRANCHES.replace("v)", "w)") + f"y = {norm.format('a')}\nz = {norm.format('b')}"
    graph = network(text, "y z", {"w": numbers(16, 32, 3, 3), **norm_constants(16)}, IMAGE)
    after = normalise(graph)
    assert len(weights_of(after)) == 1
    assert [node.op for node in after.nodes].count("Conv") == 2
    assert not np.shares_memory(*(after.constants[n.inputs[2]] for n in after.nodes if n.op == "Conv"))
    assert_same_outputs(graph, after)


@pytest.mark.parametrize("other", ["BatchNormalization(b, gamma2, beta, mean, variance)", "Relu(b)"])
def test_a_layer_behind_which_norms_differ_is_stored_once_too(other):
    text = BRANCHES.replace("v)", "w)") + "y = BatchNormalization(a, gamma, beta, mean, variance)\nz = " + other
    constants = {"w": numbers(16, 32, 3, 3), **norm_constants(16), "gamma2": numbers(16, seed=7)}
    graph = network(text, "y z", constants, IMAGE)
    after = normalise(graph)
    large = [array for array in after.constants.values() if array.size >= 1 << 12]
    assert len(large) == 1
    assert "Mul" not in {node.op for node in after.nodes}
    assert_same_outputs(graph, after, rtol=1e-5)
