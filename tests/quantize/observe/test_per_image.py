from threading import Event

import numpy as np
import pytest

from edgefer.emit.onnx import emit_onnx
from edgefer.plan import Plan
from edgefer.quantize.observe.per_image import Runnable, each_image, observe, run, run_each, runnable
from edgefer.runtime.runners import onnx_session
from tests.emit.harness import sample, values_of
from tests.emit.minmax_plan import minmax_plan
from tests.graph.networks import RESIDUAL, network, numbers

WEIGHTS = {"w": numbers(4, 3, 1, 1), "v": numbers(4, 4, 1, 1, seed=1)}
MIXING = "y = Softmax<axis=0>(x)"


def test_once_closed_no_more_are_run():
    started, closed = [], Event()

    class Session:
        inputs = ("x",)

        def run(self, outputs, feed):
            started.append(feed["x"])
            if feed["x"] > 0:
                closed.wait(10)
            return [feed["x"]]

    networks = [Runnable(Session(), 1)]
    rows = run(networks, [{"x": number} for number in range(100)], each_image)
    assert next(rows) == [[0]]
    rows.close()
    closed.set()
    assert list(run(networks, [{"x": 100}], each_image)) == [[[100]]]
    assert len(started) < 10


@pytest.mark.parametrize("stored", [False, True])
def test_images_that_run_at_once_are_each_what_they_are_alone(stored):
    graph = network(RESIDUAL, "c s", WEIGHTS)
    feeds = [sample(graph, seed) for seed in range(11)]
    several = runnable(graph, minmax_plan(graph, feeds) if stored else None)
    assert several.at_once > 1
    alone = [Runnable(several.session, 1)]
    rows = list(run_each([several], feeds))
    assert [value.shape[0] for value in rows[0]] == [1, 1]
    for found, expected in zip(rows, run_each(alone, feeds), strict=True):
        for value, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, other, 1e-6, 1e-6)


def test_a_network_that_would_mix_images_runs_one_after_the_other():
    graph = network(MIXING, "y")
    feeds = [sample(graph, seed) for seed in range(5)]
    found = [values[0] for values in observe(graph, ["y"], feeds, lambda values, images: values)]
    assert len(found) == 5
    for value, feed in zip(found, feeds, strict=True):
        np.testing.assert_allclose(value, values_of(graph, feed)["y"], 1e-6)


@pytest.mark.parametrize("stored", [False, True])
def test_large_constants_are_handed_over_apart_from_the_model_and_nothing_else_changes(stored):
    graph = network("y = Conv(x, w)", "y", {"w": numbers(128, 3, 3, 3)})
    feed = sample(graph)
    plan = minmax_plan(graph, [feed]) if stored else Plan()
    held = {}
    model = emit_onnx(graph, plan, held=held)
    assert len(held) == 1
    assert model.ByteSize() < min(array.nbytes for array in held.values())
    (whole,) = onnx_session(emit_onnx(graph, plan)).run(None, feed)
    (found,) = onnx_session(model, held=held).run(None, feed)
    np.testing.assert_array_equal(found, whole)
