"""Needs torch."""

import numpy as np
import pytest

from edgefer.host.progress import SILENT, Silent
from edgefer.quantize.observe.drop import Answer
from edgefer.shrink.remove import Bytes
from tests.graph.networks import network, numbers

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from edgefer.graph.torch_module import TorchGraph  # noqa: E402
from edgefer.shrink import shrink as shrinking  # noqa: E402
from edgefer.shrink.shrink import shrink  # noqa: E402

TEXT = """
t = Transpose<perm=[0, 3, 1, 2]>(x)
n = Mul(t, per_step)
a = Conv<kernel_shape=[3, 3], strides=[2, 2]>(n, w, w_bias)
r = Relu(a)
b = Conv<kernel_shape=[1, 1]>(r, u)
s = Relu(b)
p = GlobalAveragePool(s)
f = Flatten(p)
y = Gemm<transB=1>(f, v)
"""
WEIGHTS = {
    "per_step": np.array(1 / 255, np.float32),
    "w": numbers(64, 3, 3, 3),
    "w_bias": numbers(64, seed=1),
    "u": numbers(64, 64, 1, 1, seed=2),
    "v": numbers(5, 64, seed=3),
}
STORED = Bytes()
HEADS = {"y": Answer("softmax")}


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def graph():
    return network(TEXT, "y", WEIGHTS, x=(1, 10, 10, 3))


def pictures(count, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 1, 5, 5, 3))
    return list(coarse.repeat(2, axis=2).repeat(2, axis=3).astype(np.uint8))


def answers(graph, images):
    return TorchGraph(graph)(torch.from_numpy(np.concatenate(images)).float(), ["y"])[0]


def shrunk(graph, budget):
    return shrink(graph, HEADS, pictures(64), pictures(32, seed=1), STORED.of, budget, SILENT)


def test_a_network_within_the_budget_stays(graph):
    assert shrunk(graph, 2 * STORED.of(graph)) is None


def test_the_budget_is_kept_by_channels_that_matter_least(graph, monkeypatch):
    monkeypatch.setattr(shrinking, "STEPS", 2)
    monkeypatch.setattr(shrinking, "LAST_STEPS", 4)
    budget = int(STORED.of(graph) * 0.6)
    found = shrunk(graph, budget)
    assert STORED.of(found.graph) <= budget
    assert (found.graph.inputs, found.graph.outputs) == (graph.inputs, graph.outputs)
    images = pictures(64, seed=2)
    expected, answered = answers(graph, images), answers(found.graph, images)
    same = (expected.argmax(1) == answered.argmax(1)).double().mean()
    assert same >= 0.9
    document = found.to_dict()
    assert document["parameters"] < 0.62 * document["parameters_before"]
    assert document["macs"] < document["macs_before"]


def test_learning_that_does_not_help_is_not_kept(graph, monkeypatch):
    def spoil(student, *_):
        return student.with_constants({"v": -student.constants["v"]})

    monkeypatch.setattr(shrinking, "distil", spoil)
    found = shrunk(graph, int(STORED.of(graph) * 0.8))
    assert found.learned == 0
    images = pictures(64, seed=2)
    assert (answers(graph, images).argmax(1) == answers(found.graph, images).argmax(1)).double().mean() >= 0.9


def test_equal_arguments_give_equal_networks(graph, monkeypatch):
    monkeypatch.setattr(shrinking, "STEPS", 2)
    monkeypatch.setattr(shrinking, "LAST_STEPS", 2)
    first, second = (shrunk(graph, int(STORED.of(graph) * 0.8)).graph.constants for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_budget_out_of_reach_is_told_with_what_there_is(graph, monkeypatch):
    monkeypatch.setattr(shrinking, "distil", lambda student, *_: student)
    told = Notes()
    found = shrink(graph, HEADS, pictures(8), pictures(8, seed=1), STORED.of, 100, told)
    assert found.graph.shape("b")[1] == 8
    assert f"int8 takes about {STORED.of(found.graph):,} bytes" in told.notes[0]
