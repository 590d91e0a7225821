"""Random small networks mean the same in LiteRT as in ONNX Runtime, float and int8."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings

from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError
from edgefer.graph.batches import free_batch
from edgefer.graph.ir import Graph
from edgefer.graph.number_of_images import for_any_number
from edgefer.graph.passes import normalise
from edgefer.plan import Plan
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.equality import that_may_differ
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from tests.emit.harness import alone, int8_error, run_as_shipped, run_model, run_onnx, run_tflite, sample, values_of
from tests.emit.minmax_plan import minmax_plan
from tests.emit.random_networks import networks

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

SIGMOID_STEP = 1 / 256


@SLOW
@given(networks())
def test_float_files_compute_what_onnx_runtime_computes_step_by_step(graph: Graph) -> None:
    feeds = sample(graph)
    expected = run_onnx(graph, feeds)
    graph = normalise(graph)
    for found in (run_tflite(emit_tflite(graph, Plan()), feeds), run_as_shipped(emit_onnx(graph, Plan()), feeds)):
        for name in graph.outputs:
            assert found[name].shape == expected[name].shape
            tolerance = 1e-4 * max(np.abs(expected[name]).max(initial=0), 1)
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance)


@SLOW
@given(networks())
def test_every_int8_node_is_within_a_step_of_the_real_function(graph: Graph) -> None:
    graph = normalise(graph)
    feeds = sample(graph)
    plan = minmax_plan(graph, [feeds])
    values = values_of(graph, feeds)
    for node in graph.nodes:
        if plan.is_int8(node.name):
            single, its_plan = alone(graph, plan, node)
            model = emit_tflite(single, its_plan)
            its_feeds = {value: values[value] for value in single.inputs}
            assert int8_error(single, its_plan, node, its_feeds, model) <= 1, node


@SLOW
@given(networks())
def test_int8_files_of_both_formats_agree(graph: Graph) -> None:
    graph = normalise(graph)
    feeds = sample(graph)
    plan = minmax_plan(graph, [feeds])
    model = emit_onnx(graph, plan)
    expected = run_model(model, feeds)
    real = run_onnx(graph, feeds)
    for found in (run_tflite(emit_tflite(graph, plan), feeds), run_as_shipped(model, feeds)):
        for name in graph.outputs:
            tolerance = max(float(np.ptp(real[name])) * 0.1, 3 * SIGMOID_STEP)  # differences of a step add up
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance)


@settings(SLOW, max_examples=25)
@given(networks())
def test_nodes_that_are_not_said_to_differ_come_to_the_same_integers_in_both_files(graph: Graph) -> None:
    graph = normalise(graph)
    feeds = sample(graph)
    plan = plan_int8(graph, collect(graph, tensors_to_observe(graph), [feeds]))
    values = values_of(graph, feeds)
    for node in graph.nodes:
        if plan.is_int8(node.name):
            single, its_plan = alone(graph, plan, node)
            stored = {value: its_plan.tensors[value].quantize(values[value]) for value in single.inputs}
            real = {value: its_plan.tensors[value].dequantize(array) for value, array in stored.items()}
            found, expected = (
                run_tflite(emit_tflite(single, its_plan), stored),
                run_as_shipped(emit_onnx(single, its_plan), real),
            )
            for value in single.outputs:
                steps = np.abs(its_plan.tensors[value].quantize(expected[value]).astype(int) - found[value].astype(int))
                assert steps.max(initial=0) <= (1 if that_may_differ(single, its_plan) else 0), node


@SLOW
@given(networks())
def test_networks_that_take_any_number_of_images_answer_each_as_if_it_were_alone(graph: Graph) -> None:
    graph = normalise(graph)
    try:
        several = for_any_number(graph)
    except InputError:
        return
    images = [sample(graph, seed) for seed in range(3)]
    together = {value: np.concatenate([feeds[value] for feeds in images]) for value in graph.inputs}
    for plan in (Plan(), minmax_plan(graph, images[:1])):
        model = emit_onnx(several, plan)
        free_batch(model)
        found = run_model(model, together)
        alone = [run_model(emit_onnx(graph, plan), feeds) for feeds in images]
        for name in graph.outputs:
            expected = np.concatenate([each[name] for each in alone])
            tolerance = 1e-4 * max(np.abs(expected).max(initial=0), 1)
            if plan.nodes:
                tolerance = max(float(np.ptp(expected)) * 0.1, 3 * SIGMOID_STEP)
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance)
