"""Last layers compute in float where rounding what they answer is much of the noise, and it costs next to nothing."""

import numpy as np
import onnx
import pytest

from edgefer.conversion.convert import convert
from edgefer.evaluation.inspection import inspect
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from edgefer.quantize import method
from edgefer.quantize.costs.machines import EVERYWHERE
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.observe.sensitivity import Sensitivity
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.solve.last_layers import last_in_float
from edgefer.quantize.solve.ways import with_stored_weights
from tests.conversion.files import write_faces

FEEDS = [{"image": np.random.default_rng(seed).normal(size=(1, 3, 32, 32)).astype(np.float32)} for seed in range(8)]


def weighed(rng, *shape):
    return rng.normal(size=shape).astype(np.float32) / 10


def seen(build, rng, loudest=1.0):
    """What three convolutions see in an image, (1, 64)."""
    x = build.input("image", (1, 3, 32, 32))
    for index, channels in enumerate((32, 64, 64)):
        weights = weighed(rng, channels, (3, 32, 64)[index], 3, 3)
        weights[0] *= loudest
        x = build.op("Relu", f"act{index}", build.conv(f"conv{index}", x, weights, np.zeros(channels, np.float32)))
    return build.flatten("flat", build.global_average_pool("pool", x))


def network(*, in_common=20.0, loudest=1.0, width=5):
    """Three convolutions and a layer whose answers have much in common, which softmax does not see."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("network")
    x = seen(build, rng, loudest)
    weights = rng.normal(size=(width, 64)).astype(np.float32)
    return normalise(build.graph(build.linear("y", x, weights, np.full(width, in_common, np.float32))))


def last(graph):
    seen = collect(graph, tensors_to_observe(graph), FEEDS)

    def planned(floats):
        return with_stored_weights(graph, plan_int8(graph, seen, floats), floats)

    return last_in_float(graph, Sensitivity(graph, ["y"], FEEDS), planned, frozenset(), EVERYWHERE)


def test_answers_with_much_in_common_are_made_in_float_and_most_noise_goes():
    graph = network()
    names, left = last(graph)
    assert names == {"y"}
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), FEEDS))
    assert left <= 0.7 * Sensitivity(graph, ["y"], FEEDS).noise(graph, plan)


def test_where_other_layers_lose_more_they_stay_integers():
    names, noise = last(network(loudest=300.0))
    assert not names
    assert noise > 5 * last(network())[1]


def test_the_longer_it_takes_the_more_noise_must_go():
    assert last(network(width=5000))[0]  # 3 % of the time
    assert last(network(width=20_000))[0]  # 9 % of the time, for six sevenths of the noise that correction would leave
    assert not last(network(width=80_000))[0]  # a third


def recurrent(size):
    """Three convolutions, then a cell of so many states that runs four times, by sums that few images make large."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("network")
    sums = build.linear("sums", seen(build, rng), 20 * weighed(rng, size, 64), weighed(rng, size))
    state = build.op("Tanh", "state0", sums)
    for step in range(1, 4):
        again = build.linear(f"again{step}", state, weighed(rng, size, size), weighed(rng, size))
        state = build.op("Tanh", f"state{step}", build.add(f"sum{step}", sums, again))
    return normalise(build.graph(build.linear("y", state, weighed(rng, 5, size), np.full(5, 20, np.float32))))


def test_layers_before_the_last_compute_in_float_too_where_they_lose_most_of_what_is_left():
    graph = recurrent(32)
    names, left = last(graph)
    assert names >= {"y", "again3", "sums"}
    assert "conv" not in names
    observed = collect(graph, tensors_to_observe(graph), FEEDS)
    only_last = with_stored_weights(graph, plan_int8(graph, observed, frozenset("y")), frozenset("y"))
    assert left < 0.8 * Sensitivity(graph, ["y"], FEEDS).noise(graph, only_last)


def test_they_stay_integers_where_they_are_much_of_the_time():
    names, _ = last(recurrent(1024))
    assert "again1" not in names


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A network whose last layer is not what int8 loses most by until its channels are brought to like ranges."""
    folder = tmp_path_factory.mktemp("loud")
    onnx.save(to_onnx(network(loudest=30.0)), folder / "loud.onnx")
    return folder / "loud.onnx", write_faces(folder / "faces", 40)


def computed_in_float(loud, out):
    file, faces = loud
    head = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": [*"abcde"]}
    spec = {"input": {"size": [32, 32], "mean": [0.5] * 3, "std": [0.25] * 3}, "outputs": [head]}
    bundle = convert(file, out, calibration=faces, spec=spec)
    return not Plan.from_json((bundle.path / "plan.json").read_text("utf-8")).is_int8("y")


def test_they_are_looked_at_again_once_others_lose_less(loud, tmp_path, monkeypatch):
    assert computed_in_float(loud, tmp_path / "twice")
    looks = []

    def once(*arguments):
        looks.append(last_in_float(*arguments) if not looks else (frozenset(), 0.0))
        return looks[-1]

    monkeypatch.setattr(method, "last_in_float", once)
    assert not computed_in_float(loud, tmp_path / "once")
    assert len(looks) >= 3  # before, after, and with wider ranges
    assert not any(names for names, _ in looks)


def test_a_plan_names_no_layers_that_are_joined(tmp_path):
    rng = np.random.default_rng(0)
    build = GraphBuilder("narrow")
    x = build.input("image", (1, 3, 32, 32))
    for index, (read, made) in enumerate(((3, 64), (64, 64), (64, 16), (16, 64))):
        taps = 3 if index < 2 else 1
        weights = rng.normal(size=(made, read, taps, taps)).astype(np.float32) / np.float32(np.sqrt(read * taps**2))
        if made == 16:
            weights[0] *= 40
        x = build.conv(f"conv{index}", x, weights, np.zeros(made, np.float32), padding=taps // 2)
        x = x if made == 16 else build.relu(f"act{index}", x)
    x = build.flatten("flat", build.global_average_pool("pool", x))
    y = build.linear("y", x, rng.normal(size=(5, 64)).astype(np.float32), np.full(5, 20, np.float32))
    onnx.save(to_onnx(normalise(build.graph(y))), tmp_path / "narrow.onnx")
    faces = write_faces(tmp_path / "faces", 40)
    head = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": [*"abcde"]}
    spec = {"input": {"size": [32, 32], "mean": [0.5] * 3, "std": [0.25] * 3}, "outputs": [head]}
    bundle = convert(tmp_path / "narrow.onnx", tmp_path / "out", calibration=faces, spec=spec)
    nodes = Plan.from_json((bundle.path / "plan.json").read_text("utf-8")).nodes
    assert "conv3" in nodes
    assert "conv2" not in nodes
    assert inspect(bundle.path).artifacts
