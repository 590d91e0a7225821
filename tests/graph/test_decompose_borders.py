"""Pads that runtimes lack, in terms of those that they have."""

import numpy as np
import pytest

from edgefer.emit.tflite import emit_tflite
from edgefer.graph.passes import normalise
from edgefer.graph.passes.decompose import decompose
from edgefer.plan import Plan
from tests.emit.harness import run_onnx, run_tflite, sample
from tests.graph.networks import assert_same_outputs, network, operators

ALL = {"p": np.array([0, 0, 1, 2, 0, 1, 3, 0])}


def assert_litert_agrees(graph):
    feeds = sample(graph)
    found = run_tflite(emit_tflite(graph, Plan()), feeds)
    for name, expected in run_onnx(graph, feeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "pads"),
    [
        ("edge", [0, 0, 1, 2, 0, 1, 3, 0]),
        ("edge", [0, 0, 1, 0, 0, 0, 0, 0]),
        ("reflect", [0, 0, 2, 1, 0, 0, 0, 3]),
    ],
)
def test_borders_are_cut_out_and_joined_on(mode, pads):
    graph = network(f'y = Pad<mode="{mode}">(x, p)', "y", {"p": np.array(pads)})
    after = decompose(graph)
    assert set(operators(after)) == {"Slice", "Concat"}
    assert_same_outputs(graph, after)
    assert_litert_agrees(normalise(graph))


@pytest.mark.parametrize("pad", ["Pad(x, p)", 'Pad<mode="reflect">(x, wide)'])
def test_zeros_and_wide_mirrors_are_left_alone(pad):
    graph = network(f"y = {pad}", "y", {**ALL, "wide": np.array([0, 0, 5, 5, 0, 0, 5, 5])}, (1, 2, 8, 8))
    assert decompose(graph) is graph
    assert_litert_agrees(graph)
