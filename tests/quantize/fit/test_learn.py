"""Needs torch."""

from dataclasses import replace

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.graph.contract import apply_contract, contract_nodes
from edgefer.graph.passes import normalise
from edgefer.graph.subgraph import observing
from edgefer.plan import Plan
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.spec import InputSpec, OutputSpec, Spec
from tests.emit.harness import run_model
from tests.graph.networks import network, numbers
from tests.quantize.plans import with_coarse_weights

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from edgefer.quantize.fit.fake_quantized import FakeQuantized  # noqa: E402
from edgefer.quantize.fit.learn import learn  # noqa: E402
from edgefer.quantize.observe.drop import Answer  # noqa: E402

SIDE = 12
BODY = """\
a = Conv<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(x, stem, eight)
s = Sigmoid(a)
m = Mul(a, s)
d = Conv<kernel_shape=[3, 3], group=8, pads=[1, 1, 1, 1]>(m, depth, eight)
r = Add(d, s)
p = GlobalAveragePool(r)
f = Flatten(p)
"""
TEXT = BODY + "y = Gemm<transB=1>(f, seven, of_seven)\nz = Gemm<transB=1>(f, two, of_two)"
CONSTANTS = {
    "stem": numbers(8, 3, 3, 3),
    "eight": numbers(8, seed=1),
    "depth": numbers(8, 1, 3, 3, seed=2),
    "seven": numbers(7, 8, seed=3),
    "of_seven": numbers(7, seed=4),
    "two": numbers(2, 8, seed=5),
    "of_two": numbers(2, seed=6),
}
SPEC = Spec(
    InputSpec((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3),
    (
        OutputSpec("mood", "expression", tuple("abcdefg"), "softmax", tensor="y"),
        OutputSpec("valence", "valence_arousal", ("valence", "arousal"), "tanh", tensor="z"),
    ),
)
HEADS = {"y": Answer("softmax"), "z": Answer("tanh")}


def pictures(count, seed):
    """Smooth pixels, uint8 (1, H, W, 3) each."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 1, SIDE // 4, SIDE // 4, 3))
    return list(coarse.repeat(4, axis=2).repeat(4, axis=3).astype(np.uint8))


@pytest.fixture(scope="module")
def graph():
    return apply_contract(normalise(network(TEXT, "y z", CONSTANTS, (1, 3, SIDE, SIDE))), SPEC)


@pytest.fixture(scope="module")
def fine(graph):
    """The Plan of the graph."""
    keep_float = contract_nodes(graph)
    tensors = tensors_to_observe(graph, keep_float)
    return plan_int8(graph, collect(graph, tensors, [{"image": each} for each in pictures(24, 0)]), keep_float)


@pytest.fixture(scope="module")
def plan(fine):
    """A Plan in which weights have few levels, so that rounding them does harm."""
    return with_coarse_weights(fine, 16)


@pytest.fixture(scope="module")
def learned(graph, plan):
    return learn(graph, plan, HEADS, pictures(24, 0), reference=graph, steps=300)


def heads_of(graph, plan, images):
    """What the ONNX artifact's heads are before their activations, (images, columns) each."""
    model = emit_onnx(observing(graph, tuple(HEADS)), plan)
    found = [run_model(model, {"image": image}) for image in images]
    return [np.concatenate([values[f"observed/{head}"] for values in found]) for head in HEADS]


def noise(expected, found):
    """Power of the difference, leaving out what softmax does not see."""
    difference = found - expected
    return np.square(difference - (difference.mean(axis=1, keepdims=True) if difference.shape[1] > 2 else 0)).mean()


def test_heads_follow_the_float_network_on_images_that_were_not_learned_from(graph, plan, learned):
    unseen = pictures(64, 1)
    exact, nearest, better = (heads_of(*stored, unseen) for stored in ((graph, Plan()), (graph, plan), (learned, plan)))
    shares = [noise(e, after) / noise(e, before) for e, before, after in zip(exact, nearest, better, strict=True)]
    assert shares[0] < 0.5
    assert shares[1] < 0.9


def test_weights_are_on_the_grid_of_the_plan_and_have_moved(graph, plan, learned):
    for name in ("stem", "depth", "seven", "two"):
        params = plan.tensors[name]
        integers = params.quantize(learned.constants[name])
        np.testing.assert_allclose(params.dequantize(integers), learned.constants[name], 1e-6, 1e-9)
    before, after = (plan.tensors["stem"].quantize(g.constants["stem"]) for g in (graph, learned))
    assert not np.array_equal(before, after)


def test_nothing_but_weights_and_biases_changes(graph, learned):
    changed = {name for name, array in learned.constants.items() if not np.array_equal(array, graph.constants[name])}
    linear = [node for node in graph.nodes if node.op in ("Conv", "Gemm")]
    assert changed == {value for node in linear for value in node.inputs[1:]}
    assert learned.nodes == graph.nodes
    assert dict(learned.info) == dict(graph.info)


def test_equal_arguments_give_equal_bytes_whatever_torch_was_told(graph, plan):
    def run():
        return learn(graph, plan, HEADS, pictures(8, 0), reference=graph, steps=3).constants

    first = run()
    torch.manual_seed(5)
    with torch.no_grad():
        second = run()
        assert not torch.is_grad_enabled()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_torch_draws_the_same_random_numbers_afterwards(graph, plan):
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    learn(graph, plan, HEADS, pictures(8, 0), reference=graph, steps=1)
    assert torch.equal(torch.rand(4), expected)


def test_progress_is_told_after_each_step(graph, plan):
    done = []
    learn(graph, plan, HEADS, pictures(8, 0), reference=graph, steps=3, advance=lambda: done.append(None))
    assert len(done) == 3


def test_without_a_plan_nothing_changes(graph):
    learned = learn(graph, Plan(), HEADS, pictures(8, 0), reference=graph, steps=0)
    assert dict(learned.constants) == dict(graph.constants)


def test_the_fake_quantized_network_computes_what_the_artifact_does(graph, fine):
    images = pictures(32, 2)
    with torch.no_grad():
        found = FakeQuantized(graph, fine)(torch.from_numpy(np.concatenate(images)), tuple(HEADS))
    for head, values, expected in zip(HEADS, found, heads_of(graph, fine, images), strict=True):
        steps = np.abs(values.numpy() - expected) / fine.tensors[head].scale[0]
        assert np.mean(steps > 0.5) < 0.1
        assert steps.max() < 1.5


def test_weights_that_several_layers_read_are_learned_as_one():
    text = TEXT.replace("r = Add(d, s)", "t = Conv<group=8, pads=[1, 1, 1, 1]>(d, depth)\nr = Add(t, s)")
    tied = apply_contract(normalise(network(text, "y z", CONSTANTS, (1, 3, SIDE, SIDE))), SPEC)
    keep_float = contract_nodes(tied)
    histograms = collect(tied, tensors_to_observe(tied, keep_float), [{"image": each} for each in pictures(24, 0)])
    coarse = with_coarse_weights(plan_int8(tied, histograms, keep_float), 16)
    after = learn(tied, coarse, HEADS, pictures(24, 0), reference=tied, steps=150)
    assert len(after.consumers["depth"]) == 2
    exact, nearest, better = (
        heads_of(*stored, pictures(32, 1)) for stored in ((tied, Plan()), (tied, coarse), (after, coarse))
    )
    assert noise(exact[0], better[0]) < 0.7 * noise(exact[0], nearest[0])


def test_what_goes_into_a_root_is_not_moved_below_zero():
    text = TEXT.replace("r = Add(d, s)", "q = Mul(d, d)\nw = Conv<group=8>(q, windows)\nr = Log(w)")
    constants = {**CONSTANTS, "windows": np.full((8, 1, 2, 2), 0.25, np.float32)}
    lengths = apply_contract(normalise(network(text, "y z", constants, (1, 3, SIDE, SIDE))), SPEC)
    histograms = collect(lengths, tensors_to_observe(lengths), [{"image": each} for each in pictures(24, 0)])
    plan = plan_int8(lengths, histograms, contract_nodes(lengths))
    student = FakeQuantized(lengths, plan)
    layer = next(node for node in lengths.nodes if node.input(1) == "windows")
    assert "windows" in plan.tensors
    assert "windows" not in student.weights
    assert layer.input(2) not in student.biases
    assert {"stem", "depth"} <= student.weights.keys()


def test_gradients_stop_where_a_value_saturates(graph, plan):
    params = plan.tensors["y"]
    tiny = replace(params, scale=(params.scale[0] / 1000,))
    network = FakeQuantized(graph, replace(plan, tensors={**plan.tensors, "y": tiny}))
    logits, moods = network(torch.from_numpy(np.concatenate(pictures(4, 0))), tuple(HEADS))
    assert set(logits.detach().div(tiny.scale[0]).round().add(tiny.zero_point[0]).unique().tolist()) <= {-128, 127}
    logits.sum().backward(retain_graph=True)
    assert not network.weights["stem"].grad.any()
    moods.sum().backward()
    assert network.weights["stem"].grad.any()


@pytest.mark.parametrize("node", ["a", "d", "y"])
def test_a_node_that_computes_in_float_learns_the_weights_that_are_stored_in_int8(graph, plan, node):
    name = graph.producers[node].name
    learned = learn(
        graph,
        replace(plan, nodes={key: value for key, value in plan.nodes.items() if key != name}),
        HEADS,
        pictures(8, 0),
        reference=graph,
        steps=3,
    )
    weights = graph.producers[node].inputs[1]
    params = plan.tensors[weights]
    np.testing.assert_allclose(
        params.dequantize(params.quantize(learned.constants[weights])), learned.constants[weights], 1e-6, 1e-9
    )
