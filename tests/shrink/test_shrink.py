"""Needs torch."""

import itertools
import re
from contextlib import contextmanager

import numpy as np
import pytest

from edgefer.errors import UnsupportedOperatorError
from edgefer.graph.groups import find_groups, without
from edgefer.graph.subgraph import extract
from edgefer.host.progress import SILENT, Silent
from edgefer.quantize.costs.machines import LITERT_A76
from edgefer.quantize.observe.drop import Answer
from edgefer.shrink.asked import Limit, Steps
from edgefer.shrink.journal import Journal
from edgefer.shrink.refit import observed, refitted
from edgefer.shrink.remove import Bytes, Time
from tests.graph.networks import network, numbers

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from edgefer.graph.torch_module import TorchGraph  # noqa: E402
from edgefer.quantize.fit import learn as learning_rounds  # noqa: E402
from edgefer.shrink import shrink as shrinking  # noqa: E402
from edgefer.shrink.learning import Learning, distil  # noqa: E402
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
    return list(coarse.repeat(2, axis=2).repeat(2, axis=3).astype(np.float32))


def answers(graph, images):
    return TorchGraph(graph)(torch.from_numpy(np.concatenate(images)).float(), ["y"])[0]


def limit(budget):
    return Limit(STORED, STORED.of, budget, lambda least: f"takes about {least:,.0f} bytes")


def takes(graph):
    return int(STORED.of(graph)), 1.0


def shrunk(graph, budget, steps=Steps(2, 4), progress=SILENT):  # noqa: B008
    found = shrink(graph, HEADS, pictures(64), pictures(32, seed=1), [limit(budget)], steps, takes, progress)
    if found is not None:
        found.journal.close()
    return found


def agreement(graph, found):
    images = pictures(256, seed=2)
    return (answers(graph, images).argmax(1) == answers(found, images).argmax(1)).double().mean()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path))


def test_a_network_within_the_budget_stays(graph):
    assert shrunk(graph, 2 * STORED.of(graph)) is None


def test_the_budget_is_kept_by_channels_that_matter_least(graph):
    budget = STORED.of(graph) * 0.6
    found = shrunk(graph, budget)
    assert STORED.of(found.graph) <= budget
    assert (found.graph.inputs, found.graph.outputs) == (graph.inputs, graph.outputs)
    assert agreement(graph, found.graph) >= 0.85
    document = found.to_dict()
    assert document["parameters"] < 0.62 * document["parameters_before"]
    assert document["macs"] < document["macs_before"]


def test_without_pytorch_what_is_left_is_fitted_by_least_squares(graph, monkeypatch):
    monkeypatch.setattr(shrinking, "find_spec", lambda name: None)
    told = Notes()
    budget = STORED.of(graph) * 0.6
    found = shrunk(graph, budget, progress=told)
    assert STORED.of(found.graph) <= budget
    assert found.learned == 0 and "pip install" in told.notes[0]
    assert agreement(graph, found.graph) >= 0.85


def test_what_channels_that_are_gone_gave_is_taken_from_those_that_are_left():
    """Every channel is there twice, but for a factor: half of them give all of it."""
    doubled = {name: array.copy() for name, array in WEIGHTS.items()}
    for name in ("w", "w_bias"):
        doubled[name][32:] = 2 * doubled[name][:32]
    graph = network(TEXT, "y", doubled, x=(1, 10, 10, 3))
    images = pictures(64)
    groups = find_groups(graph)
    gone = np.zeros(groups.count, bool)
    gone[groups.families[0][32:]] = True
    expected = answers(graph, images)
    fitted, cut = (
        float((answers(each, images) - expected).square().sum() / expected.square().sum())
        for each in (
            refitted(groups, gone, observed(groups, [{"x": image} for image in images])),
            without(groups, gone),
        )
    )
    assert fitted < 0.02 < cut


@pytest.mark.parametrize("factor", [-1, np.nan, 1e38])
def test_learning_that_does_not_help_or_diverges_is_not_kept(graph, factor, monkeypatch):
    def spoil(self, student, *_):
        return student.with_constants({"v": student.constants["v"] * np.float32(factor)})

    monkeypatch.setattr(Learning, "learned", spoil)
    told = Notes()
    found = shrunk(graph, STORED.of(graph) * 0.8, progress=told)
    assert found.learned == 0
    assert re.match(r"in (\d) of \1 rounds the network that had learned was no closer", told.notes[-1])
    assert agreement(graph, found.graph) >= 0.85


@pytest.mark.parametrize("has_torch", [True, False])
def test_a_network_of_which_nothing_can_go_stays_and_that_is_told(has_torch, monkeypatch):
    if not has_torch:
        monkeypatch.setattr(shrinking, "find_spec", lambda name: None)
    text = "t = Transpose<perm=[0, 3, 1, 2]>(x)\na = Conv(t, w)\np = GlobalAveragePool(a)\ny = Flatten(p)"
    told = Notes()
    assert shrunk(network(text, "y", WEIGHTS, x=(1, 10, 10, 3)), 100, progress=told) is None
    assert told.notes[-1].startswith("nothing of this network can be removed")
    assert not any("shrinking takes" in note for note in told.notes)


def test_where_pytorch_lacks_an_operator_least_squares_are_left_and_that_is_told(monkeypatch):
    text = TEXT.replace("Gemm<transB=1>(f, v)", "Erf(g)").replace("y =", "g = Gemm<transB=1>(f, v)\ny =")
    graph = network(text, "y", WEIGHTS, x=(1, 10, 10, 3))
    told = Notes()
    found = shrunk(graph, STORED.of(graph) * 0.8, progress=told)
    assert STORED.of(found.graph) <= STORED.of(graph) * 0.8
    assert (found.learned, found.stored_steps) == (0, 0)
    (note,) = told.notes
    assert "operator Erf is not supported" in note and "least squares alone" in note


def test_where_pytorch_cannot_run_what_is_left_the_rest_of_the_way_is_by_least_squares(graph, monkeypatch):
    learn = Learning.learned

    def refuse(self, student, *others):
        if student.shape("b") != graph.shape("b"):
            raise UnsupportedOperatorError("g", "Gather", "torch", remedy="")
        return learn(self, student, *others)

    monkeypatch.setattr(Learning, "learned", refuse)
    told = Notes()
    found = shrunk(graph, STORED.of(graph) * 0.8, progress=told)
    assert STORED.of(found.graph) <= STORED.of(graph) * 0.8
    assert [note for note in told.notes if "operator Gather" in note] == told.notes[1:]
    assert found.learned == 0 and agreement(graph, found.graph) >= 0.85


def test_maps_on_the_way_stay_what_they_were_where_they_are_learned_too(graph):
    noisy = graph.with_constants({name: WEIGHTS[name] + numbers(*WEIGHTS[name].shape, seed=9) / 4 for name in "wu"})
    images = pictures(32)
    batch = torch.from_numpy(np.concatenate(images)).float()
    places = {"a": (1, np.arange(64))}

    def noise(found):
        (expected,), (other,) = (TorchGraph(extract(each, ["x"], ["a"]))(batch, ["a"]) for each in (graph, found))
        return float((expected - other).square().sum() / expected.square().sum())

    alone, together = (distil(noisy, graph, HEADS, images, 30, inner=inner) for inner in ({}, places))
    assert noise(together) < 0.9 * noise(alone) < noise(noisy)


def test_equal_arguments_give_equal_networks(graph):
    first, second = (shrunk(graph, STORED.of(graph) * 0.8).graph.constants for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("interrupted_at", [3, 14])
def test_an_interrupted_run_goes_on_to_the_same_network(graph, interrupted_at, tmp_path, monkeypatch):
    monkeypatch.setattr(learning_rounds, "KEPT_EVERY", 5)
    steps, budget = Steps(8, 8), STORED.of(graph) * 0.86
    whole = shrunk(graph, budget, steps).graph.constants

    class Interrupting(Notes):
        @contextmanager
        def stage(self, name, total=None):
            count = itertools.count(1)

            def advance():
                if next(count) == interrupted_at:
                    raise KeyboardInterrupt

            yield advance

    with pytest.raises(KeyboardInterrupt):
        shrunk(graph, budget, steps, Interrupting())
    kept = [path.name for path in tmp_path.rglob("*.npz")]
    assert "1-gone.npz" in kept and ("2-learned.npz" in kept) == (interrupted_at > 8)
    told = Notes()
    resumed = shrunk(graph, budget, steps, told).graph.constants
    assert "goes on where it was interrupted" in told.notes[0]
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert not list(tmp_path.rglob("*.npz")), "what is done needs no journal"


def test_a_damaged_journal_is_made_again(tmp_path):
    journal = Journal("key")
    journal.write("step", {"a": np.arange(3)})
    assert np.array_equal(journal.read("step")["a"], np.arange(3))
    (path,) = tmp_path.rglob("step.npz")
    path.write_bytes(path.read_bytes()[:40])
    assert journal.read("step") is None


def test_the_cost_is_told_beforehand(graph):
    told = Notes()
    shrunk(graph, STORED.of(graph) * 0.8, progress=told)
    assert re.match(
        r"shrinking takes about 1 minute here: 3 rounds .* 8 steps of learning on 64 images, 0\.\d\d s", told.notes[0]
    )


def test_a_bound_out_of_reach_is_told_with_what_there_is(graph):
    told = Notes()
    found = shrunk(graph, 100, Steps(0, 0), told)
    assert found.graph.shape("b")[1] == 8
    assert told.notes[-1] == f"takes about {STORED.of(found.graph):,.0f} bytes"


def test_of_two_bounds_both_are_kept(graph):
    time = Time(LITERT_A76)
    budget, allowed = STORED.of(graph) * 0.9, time.of(graph) * 0.7
    limits = [limit(budget), Limit(time, time.of, allowed, str)]
    found = shrink(graph, HEADS, pictures(64), pictures(32, seed=1), limits, Steps(1, 2), takes, SILENT)
    assert STORED.of(found.graph) <= budget and time.of(found.graph) <= allowed
