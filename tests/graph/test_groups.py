import numpy as np
import pytest

from edgefer.graph.groups import find_groups, without
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes.remove_channels import remove_channels
from tests.emit.harness import run_model, sample
from tests.graph.networks import assert_same_outputs, network, numbers, operators
from tests.graph.test_regions import GATED, GATED_WEIGHTS, RESIDUAL, RESIDUAL_WEIGHTS

CONCAT = """
a = Conv<kernel_shape=[1, 1]>(x, w)
b = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, u)
c = MaxPool<kernel_shape=[1, 1]>(a)
j = Concat<axis=1>(b, c, a)
r = Relu(j)
y = Conv<kernel_shape=[1, 1]>(r, v)
"""
CONCAT_WEIGHTS = {"w": numbers(4, 3, 1, 1), "u": numbers(6, 3, 3, 3, seed=1), "v": numbers(5, 14, 1, 1, seed=2)}
SHUFFLE = """
a = Conv<kernel_shape=[1, 1]>(x, w)
s = Relu(a)
l, r = Split<axis=1>(s, halves)
b = Conv<kernel_shape=[1, 1]>(r, u)
d = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4>(b, depthwise)
j = Concat<axis=1>(l, d)
g = Reshape(j, grouped)
t = Transpose<perm=[0, 2, 1, 3, 4]>(g)
k = Reshape(t, flat)
m = Slice(k, four, eight, one)
n = Slice(k, zero, four, one)
p = Add(m, n)
y = Conv<kernel_shape=[1, 1]>(p, v)
"""
SHUFFLE_WEIGHTS = {
    "w": numbers(8, 3, 1, 1),
    "u": numbers(4, 4, 1, 1, seed=1),
    "depthwise": numbers(4, 1, 3, 3, seed=2),
    "v": numbers(5, 4, 1, 1, seed=3),
    "halves": np.array([4, 4]),
    "grouped": np.array([1, 2, 4, 5, 5]),
    "flat": np.array([1, 8, 5, 5]),
    **{name: np.array([number]) for name, number in (("zero", 0), ("one", 1), ("four", 4), ("eight", 8))},
}
ATTENTION = """
f = Reshape(x, tokens)
t = Transpose<perm=[0, 2, 1]>(f)
i = MatMul(t, w)
h = Add(i, w_bias)
e = Reshape(h, heads)
z = Transpose<perm=[2, 0, 3, 1, 4]>(e)
q3, k3, v3 = Split<axis=0>(z, thirds)
q = Squeeze(q3, zero)
k = Squeeze(k3, zero)
v = Squeeze(v3, zero)
kt = Transpose<perm=[0, 1, 3, 2]>(k)
qs = Mul(q, scale)
s = MatMul(qs, kt)
a = Softmax<axis=-1>(s)
o = MatMul(a, v)
ot = Transpose<perm=[0, 2, 1, 3]>(o)
of = Reshape(ot, joined)
y = MatMul(of, proj)
"""
ATTENTION_WEIGHTS = {
    "tokens": np.array([1, 3, 25]),
    "w": numbers(3, 36),
    "w_bias": numbers(36, seed=1),
    "heads": np.array([1, 25, 3, 4, 3]),
    "thirds": np.array([1, 1, 1]),
    "zero": np.array([0]),
    "scale": np.array(3**-0.5, np.float32),
    "joined": np.array([1, 25, 12]),
    "proj": numbers(12, 5, seed=2),
}
FLAT = """
a = Conv<kernel_shape=[3, 3]>(x, w)
r = Relu(a)
f = Flatten<axis=1>(r)
y = Gemm<transB=1>(f, v)
"""
FLAT_WEIGHTS = {"w": numbers(6, 3, 3, 3), "v": numbers(5, 54, seed=1)}
SUMMED = """
a = Conv<kernel_shape=[1, 1]>(x, w)
m = ReduceSum<keepdims=1>(a, one)
b = Conv<kernel_shape=[1, 1]>(x, u)
g = Mul(b, m)
y = Conv<kernel_shape=[1, 1]>(g, v)
"""
SUMMED_WEIGHTS = {
    "w": numbers(4, 3, 1, 1),
    "u": numbers(6, 3, 1, 1, seed=1),
    "v": numbers(5, 6, 1, 1, seed=2),
    "one": np.array([1]),
}

NETWORKS = {
    "concat": (CONCAT, CONCAT_WEIGHTS, [6, 4]),
    "shuffle": (SHUFFLE, SHUFFLE_WEIGHTS, [4, 2]),
    "attention heads": (ATTENTION, ATTENTION_WEIGHTS, [4]),
    "flattened maps": (FLAT, FLAT_WEIGHTS, [6]),
    "a sum over channels": (SUMMED, SUMMED_WEIGHTS, [6, 4]),
    "gates and depthwise": (GATED, GATED_WEIGHTS, [6, 2]),
    "a residual sum": (RESIDUAL, RESIDUAL_WEIGHTS, [6]),
}


def silenced(groups, gone):
    """The network with zeros for weights where anything reads one of the groups."""
    arrays = {}
    for reader in groups.readers:
        node = groups.graph.named[reader.node]
        read = groups.found_in(reader.labels, gone)
        if node.op == "ReduceSum":
            weights, axis = "w", 0
        else:
            weights = node.inputs[1]
            axis = 1 if node.op == "Conv" or node.int("transB") else 0
        array = arrays.get(weights, groups.graph.constants[weights]).copy()
        array[tuple([slice(None)] * axis + [read])] = 0
        arrays[weights] = array
    return groups.graph.with_constants(arrays)


def chosen(groups, *numbers):
    gone = np.zeros(groups.count, bool)
    gone[list(numbers)] = True
    return gone


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_as_many_as_can_go_by_themselves(name):
    text, weights, sizes = NETWORKS[name]
    groups = find_groups(network(text, "y", weights))
    assert sorted(map(len, groups.families), reverse=True) == sizes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_group_that_nothing_listens_to_leaves_the_outputs_what_they_were(name):
    text, weights, _ = NETWORKS[name]
    groups = find_groups(network(text, "y", weights))
    for family in groups.families:
        gone = chosen(groups, family[1])
        quiet = silenced(groups, gone)
        smaller = without(find_groups(quiet), gone)
        assert_same_outputs(quiet, smaller)
        assert sum(array.size for array in smaller.constants.values()) < sum(
            array.size for array in quiet.constants.values()
        )
        assert operators(smaller) == operators(quiet)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "a sum over channels"])
def test_dead_groups_are_found_and_removed_exactly(name):
    text, weights, _ = NETWORKS[name]
    groups = find_groups(network(text, "y", weights))
    gone = chosen(groups, *(family[-1] for family in groups.families))
    quiet = silenced(groups, gone)
    smaller = remove_channels(quiet)
    feeds = sample(quiet, 0)
    expected, found = (run_model(to_onnx(graph), feeds)["y"] for graph in (quiet, smaller))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    assert {name: array.shape for name, array in smaller.constants.items() if array.dtype.kind == "f"} == {
        name: array.shape
        for name, array in without(find_groups(quiet), gone).constants.items()
        if array.dtype.kind == "f"
    }


def test_a_slice_of_channels_goes_on_to_cut_nothing_else():
    groups = find_groups(network(SHUFFLE, "y", SHUFFLE_WEIGHTS))
    smaller = without(groups, chosen(groups, groups.families[0][1]))
    axes = [smaller.constants[node.inputs[3]].tolist() for node in smaller.nodes if node.op == "Slice"]
    assert axes == [[1], [1]]


def test_several_groups_go_at_once():
    groups = find_groups(network(CONCAT, "y", CONCAT_WEIGHTS))
    gone = chosen(groups, groups.families[0][0], groups.families[1][2], groups.families[1][3])
    smaller = without(groups, gone)
    assert (smaller.shape("a")[1], smaller.shape("b")[1], smaller.shape("j")[1]) in ((3, 4, 10), (2, 5, 9))
    assert_same_outputs(silenced(groups, gone), smaller)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a = Conv(x, w)\ny = Sigmoid(a)", id="the caller sees it"),
        pytest.param("a = Conv(x, w)\ns = Softmax<axis=1>(a)\ny = Conv(s, v)", id="softmax mixes channels"),
        pytest.param("a = Conv(x, w)\nb = Add(a, x)\ny = Conv(b, v)", id="one side is the image"),
        pytest.param("a = Conv(x, w)\nm = ReduceMean<keepdims=1>(a, one)\ny = Mul(m, x)", id="a mean over channels"),
        pytest.param("a = Conv(x, w)\nr = Slice(a, zero, three, one, two)\ny = Conv(r, two_in)", id="every other"),
        pytest.param("a = Conv(x, narrow)\nb = Mul(a, x)\ny = Conv(b, v)", id="one channel alone"),
        pytest.param(
            "a = Conv(x, four)\nh = Reshape(a, heads)\nd = Conv<group=2>(h, deep)\nb = Reshape(d, back)\n"
            "y = Conv(b, four_in)",
            id="heads share a depthwise kernel",
        ),
    ],
)
def test_what_cannot_do_without_a_channel_keeps_it(text):
    weights = {"w": numbers(3, 3, 1, 1), "v": numbers(4, 3, 1, 1), "two_in": numbers(4, 2, 1, 1)}
    weights |= {"narrow": numbers(1, 3, 1, 1), "four": numbers(4, 3, 1, 1), "four_in": numbers(3, 4, 1, 1)}
    weights |= {"deep": numbers(2, 1, 1, 1), "heads": np.array([2, 2, 5, 5]), "back": np.array([1, 4, 5, 5])}
    weights |= {name: np.array([number]) for name, number in (("zero", 0), ("one", 1), ("two", 2), ("three", 3))}
    used = {name: array for name, array in weights.items() if name in text}
    assert find_groups(network(text, "y", used)).count == 0


def test_weights_that_two_layers_share_go_where_both_lose_them():
    text = "a = Conv(x, w)\nb = Conv(a, u)\nc = Conv(b, u)\nd = Add(a, b)\ne = Add(d, c)\ny = Conv(e, v)"
    weights = {"w": numbers(4, 3, 1, 1), "u": numbers(4, 4, 1, 1, seed=1), "v": numbers(2, 4, 1, 1, seed=2)}
    groups = find_groups(network(text, "y", weights))
    assert groups.count == 4
