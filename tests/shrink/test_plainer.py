import numpy as np
import pytest

from edgefer.graph.patterns import find_squeeze_excites
from edgefer.plan import Plan
from edgefer.quantize.costs.machines import LITERT_A76
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.shrink.journal import Journal
from edgefer.shrink.landmarks import landmarks
from edgefer.shrink.lighter import Lighter, Student
from edgefer.shrink.plainer import plainer_parts, plainly
from edgefer.shrink.remove import Time
from tests.graph.networks import network, numbers

TEXT = """
t = Transpose<perm=[0, 3, 1, 2]>(x)
n = Mul(t, per_step)
a = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(n, w)
r = Relu(a)
d = Conv<kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[2, 2], group=32>(r, k)
s = Relu(d)
p = GlobalAveragePool(s)
q = Conv<kernel_shape=[1, 1]>(p, reduce, reduce_bias)
e = Relu(q)
z = Conv<kernel_shape=[1, 1]>(e, expand, expand_bias)
g = Sigmoid(z)
m = Mul(s, g)
b = Conv<kernel_shape=[1, 1]>(m, u)
c = Relu(b)
o = GlobalAveragePool(c)
f = Flatten(o)
y = Gemm<transB=1>(f, v)
"""
WEIGHTS = {
    "per_step": np.array(1 / 255, np.float32),
    "w": numbers(32, 3, 3, 3),
    "k": numbers(32, 1, 5, 5, seed=1),
    "reduce": numbers(4, 32, 1, 1, seed=2),
    "reduce_bias": numbers(4, seed=3),
    "expand": numbers(32, 4, 1, 1, seed=4),
    "expand_bias": numbers(32, seed=5),
    "u": numbers(32, 32, 1, 1, seed=6),
    "v": numbers(5, 32, seed=7),
}
TIME = Time(LITERT_A76)


def graph_of(**changed):
    return network(TEXT, "y", {**WEIGHTS, **changed}, x=(1, 16, 16, 3))


def pictures(count, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 1, 4, 4, 3))
    return [{"x": image} for image in coarse.repeat(4, axis=2).repeat(4, axis=3).astype(np.float32)]


def judge(graph):
    sensitivity = Sensitivity(graph, ["y"], pictures(32, seed=1))
    return lambda other: sensitivity.noise(other, Plan())


def parts(graph):
    return {part.node: part.instead(graph) for part in plainer_parts(graph, pictures(64))}


def test_a_gate_that_no_image_changes_goes_without_a_trace():
    graph = graph_of(expand=np.zeros_like(WEIGHTS["expand"]))
    plain = parts(graph)[find_squeeze_excites(graph)[0].mul.name]
    assert not find_squeeze_excites(plain)
    assert len(plain.nodes) == len(graph.nodes) - 6
    assert judge(graph)(plain) < 1e-6


def test_a_kernel_with_nothing_outside_its_inner_taps_loses_the_others_without_a_trace():
    kernel = np.zeros_like(WEIGHTS["k"])
    kernel[:, :, 1:4, 1:4] = WEIGHTS["k"][:, :, 1:4, 1:4]
    graph = graph_of(k=kernel)
    (plain,) = (found for name, found in parts(graph).items() if graph.named[name].op == "Conv")
    (conv,) = (node for node in plain.nodes if node.int("group", 1) > 1)
    assert plain.shape(conv.inputs[1]) == (32, 1, 3, 3) and plain.shape("d") == graph.shape("d")
    assert judge(graph)(plain) < 1e-4


def test_inner_taps_do_what_the_outer_ones_did_as_far_as_neighbours_are_alike():
    graph = graph_of(expand=np.zeros_like(WEIGHTS["expand"]))
    name = next(node.name for node in graph.nodes if node.int("group", 1) > 1)
    plain = parts(graph)[name]
    taps = plain.named[name].inputs[1]
    cut = plain.with_constants({taps: WEIGHTS["k"][:, :, 1:4, 1:4]})
    assert judge(graph)(plain) < 0.3 * judge(graph)(cut)


def test_parts_go_only_where_channels_cost_more():
    graph = graph_of(expand=WEIGHTS["expand"] / 100)
    gate = find_squeeze_excites(graph)[0].mul.name
    saved = TIME.of(graph) - TIME.of(parts(graph)[gate])
    added = judge(graph)(parts(graph)[gate])
    for price, count in ((2 * added / saved, 1), (added / saved / 2, 0)):
        found, taken = plainly(graph, pictures(64), judge(graph), TIME, price, 0)
        assert taken == count and (found is graph) == (not count)
    assert plainly(graph, pictures(64), judge(graph), TIME, np.inf, TIME.of(graph)) == (graph, 0), "light enough"


@pytest.fixture
def round_of(tmp_path, monkeypatch):
    """A round for a graph, in which all channels are worth the same."""
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path))

    def made(graph, target):
        sensitivity = Sensitivity(graph, ["y"], pictures(32, seed=1))
        lighter = Lighter(Journal("key"), lambda groups: np.ones(groups.count), sensitivity, pictures(64))
        return lighter.made(Student(graph, landmarks(graph)), TIME, target * TIME.of(graph), "1-gone")

    return made


def test_a_round_takes_a_gate_that_hardly_matters_before_channels(round_of):
    graph = graph_of(expand=WEIGHTS["expand"] / 1000)
    found = round_of(graph, 0.8)
    assert found.plainer and not find_squeeze_excites(found.graph)
    assert TIME.of(found.graph) <= 0.85 * TIME.of(graph)
    assert set(found.places) <= set(found.graph.producers)


def test_where_no_channel_can_go_parts_do(round_of, monkeypatch):
    monkeypatch.setattr("edgefer.shrink.lighter.chosen", lambda groups, *_: np.zeros(groups.count, bool))
    found = round_of(graph_of(), 0.5)
    assert found.plainer == 2 and not find_squeeze_excites(found.graph)
