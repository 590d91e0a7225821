import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import edgefer
from edgefer.bundle import Bundle
from edgefer.emit.onnx import emit_onnx
from edgefer.errors import InputError
from edgefer.evaluation import layers
from edgefer.evaluation.layers import planned_activations, view_layers
from edgefer.evaluation.rebuild import rebuild
from edgefer.graph.onnx_io import to_onnx
from edgefer.images import open_images
from edgefer.images.preprocess import iter_pixels
from edgefer.plan import Plan
from edgefer.runtime.delegation import undelegated
from edgefer.runtime.runners import onnx_session, open_runner
from tests.conversion.files import write_faces, write_network


@pytest.fixture
def images(save):
    return open_images(save(6))


def test_a_bundle_is_rebuilt_to_the_byte_with_its_fused_activations(tiny):
    rebuilt = rebuild(tiny)
    assert rebuilt.exact == {"onnx": True, "tflite": True}
    assert sorted(node.activation for node in rebuilt.graph.nodes if node.activation) == ["Relu", "Relu6"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda plan: Plan({}, plan.nodes),
            "tiny_int8.onnx: cannot be rebuilt: it stores 'x', which plan.json does not",
        ),
        (
            lambda plan: Plan(plan.tensors, {"stranger": "int8"}),
            "plan.json: names 'stranger', which the artifacts do not",
        ),
    ],
)
def test_a_plan_of_another_network_is_refused(tiny, tmp_path, change, message):
    shutil.copytree(tiny.path, tmp_path / "other")
    (tmp_path / "other" / "plan.json").write_text(change(tiny.plan).to_json())
    bundle = Bundle.open(tmp_path / "other", verify=False)
    with pytest.raises(InputError, match=message):
        rebuild(bundle)


@pytest.mark.parametrize("network", ["tiny", "fer_b0"])
def test_exposing_tensors_changes_no_output(network, request, images):
    bundle = request.getfixturevalue(network)
    rebuilt = rebuild(bundle)
    tensors = planned_activations(rebuilt.graph, rebuilt.plan)
    heads = [output.name for output in bundle.spec.outputs]
    exposing_onnx = layers._OnnxIntegers(rebuilt.graph, rebuilt.plan, tensors)
    exposing_tflite = layers._TfliteIntegers(rebuilt.graph, rebuilt.plan, tensors)
    runners = {format: open_runner(bundle.artifact(format), format) for format in ("onnx", "tflite")}
    for pixels in iter_pixels(images, bundle.spec.input):
        shown = exposing_onnx._session.run(heads, {"image": pixels[np.newaxis]})
        for head, values in zip(heads, shown, strict=True):
            assert np.array_equal(values[0], runners["onnx"](pixels)[head])
        shown = exposing_tflite._runner(image=pixels[np.newaxis])
        for head in heads:
            assert np.array_equal(shown[head][0], runners["tflite"](pixels)[head])


def test_side_by_side_every_operator_runs_on_the_fast_kernels_of_both_runtimes(tiny):
    rebuilt = rebuild(tiny)
    graph, plan, made = layers._side_by_side(rebuilt.graph, rebuilt.plan)
    assert set(made) == set(planned_activations(rebuilt.graph, rebuilt.plan)) - {rebuilt.graph.nodes[2].output}
    assert undelegated(layers.emit_tflite(replace(graph, outputs=made), plan)) == []


def test_the_sqnr_of_a_tensor_is_that_of_its_values(tiny, images):
    view = view_layers(tiny, images)
    rebuilt = rebuild(tiny)
    last = view.layers[-1].tensor
    assert view.layers[-1].op == "Gemm"
    exact = onnx_session(to_onnx(rebuilt.reference, [last]))
    model = emit_onnx(rebuilt.graph, rebuilt.plan)
    model.graph.output.append(layers.onnx.helper.make_tensor_value_info(f"{last}/dequantized", 1, [1, 9]))
    stored = onnx_session(model)
    values = [
        (
            exact.run([last], {"image": p[np.newaxis]})[0],
            stored.run([f"{last}/dequantized"], {"image": p[np.newaxis]})[0],
        )
        for p in iter_pixels(images, tiny.spec.input)
    ]
    signal = sum(np.sum(np.square(a, dtype=np.float64)) for a, _ in values)
    noise = sum(np.sum(np.square(a - b, dtype=np.float64)) for a, b in values)
    assert view.layers[-1].sqnr_db["onnx"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)


def test_layers_come_in_network_order_and_serialise(tiny, images):
    view = view_layers(tiny, images)
    document = json.loads(json.dumps(view.to_dict(), allow_nan=False))
    assert document["images"] == 6
    order = [node.name for node in rebuild(tiny).graph.nodes]
    positions = [order.index(layer["node"]) for layer in document["layers"]]
    assert positions == sorted(positions)
    assert all(layer["sqnr_db"]["tflite"] > 3 for layer in document["layers"])


def test_a_tensor_that_differs_is_traced_to_the_operator_that_began_it(tiny, images, monkeypatch):
    run = layers._TfliteIntegers.run
    silu = next(node for node in rebuild(tiny).graph.nodes if node.op == "Mul" and node.name == "silu").output

    def off_by_one(model, feeds):
        found = {tensor: values.copy() for tensor, values in run(model, feeds).items()}
        found[silu].flat[0] += 2 if found[silu].flat[0] < 100 else -2
        return found

    monkeypatch.setattr(layers._TfliteIntegers, "run", off_by_one)
    view = view_layers(tiny, images)
    assert view.first_difference.node == "silu"
    assert view.first_difference.max_lsb == 2
    assert view.first_difference.own_max_lsb == 2
    elements = np.prod(rebuild(tiny).graph.shape(silu))
    assert view.first_difference.differing == pytest.approx(1 / elements)
    assert view.own_differences["Mul"] == (1, 1)
    assert view.own_differences["Conv"] == (0, 3)


def test_an_artifact_that_the_plan_does_not_explain_is_not_viewed(tiny, images, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "other")
    artifact = tmp_path / "other" / "tiny_int8.tflite"
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    view = view_layers(Bundle.open(tmp_path / "other", verify=False), images)
    assert view.rebuilt == {"onnx": True, "tflite": False}
    assert all(layer.sqnr_db.keys() == {"onnx"} and layer.differing is None for layer in view.layers)


def test_a_network_all_in_float_has_no_layers_to_view(tmp_path, images, monkeypatch):
    monkeypatch.setattr("edgefer.quantize.solve.solver._best", lambda points, bounds: points[-1])
    model, faces = write_network(tmp_path / "tiny.onnx"), write_faces(tmp_path / "faces")
    bundle = edgefer.convert(model, tmp_path / "out", calibration=faces, max_drop=0)
    assert not any(bundle.plan.is_int8(name) for name in bundle.plan.nodes)
    assert view_layers(bundle, images).layers == ()


def test_without_images_there_is_no_view(tiny, images):
    with pytest.raises(InputError, match="no images"):
        view_layers(tiny, images.select([]))


def test_fed_equal_integers_the_runtimes_round_ties_apart_at_most(fer_b0, shared):
    images = open_images(shared / "data" / "fer2013_public.npz").select(range(8))
    view = view_layers(fer_b0, images)
    assert view.rebuilt == {"onnx": True, "tflite": True}
    for op in ("Conv", "Sigmoid", "Gemm"):
        differing, count = view.own_differences[op]
        assert count > 0
        assert differing == 0
    compared = [layer for layer in view.layers if layer.own_max_lsb is not None]
    assert len(compared) > 200
    assert max(layer.own_max_lsb for layer in compared) <= 1
    assert max(layer.own_differing for layer in compared) < 0.01
