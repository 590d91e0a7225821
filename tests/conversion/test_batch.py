"""`convert --batch dynamic`: ONNX files that take any number of images at once, and answer each as if it were alone."""

import json
from importlib.resources import files

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgefer
from edgefer.device.results import Settings
from edgefer.errors import InputError, UsageError
from edgefer.evaluation.rebuild import rebuild
from edgefer.graph.batches import for_one
from edgefer.packaging.interface import contract_document, contract_text
from edgefer.runtime.runners import onnx_session, open_runner
from tests.evaluation.conftest import tiny  # noqa: F401
from tests.evaluation.tiny import EXPRESSIONS, SPEC, faces, network


@pytest.fixture(scope="module")
def batched(tiny, tmp_path_factory):  # noqa: F811
    """The same network, with its batch left open."""
    folder = tmp_path_factory.mktemp("batched")
    onnx.save(network(), folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", images=faces(40, seed=9))
    return edgefer.convert(
        folder / "tiny.onnx", folder / "bundle", spec=SPEC, calibration=folder / "calibration.npz", batch="dynamic"
    )


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_batch_is_answered_as_its_images_one_by_one(batched, precision):
    path = batched.artifact("onnx", precision)
    session, runner = onnx_session(path), open_runner(path, "onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
    together = dict(zip(session.outputs, session.run(None, {session.inputs[0]: pixels}), strict=True))
    for index, image in enumerate(pixels):
        for name, values in runner(image).items():
            if precision == "int8":
                assert np.array_equal(together[name][index], values)
            else:
                np.testing.assert_allclose(together[name][index], values, rtol=0, atol=1e-6)


def test_nothing_but_the_shapes_differs_from_the_files_for_one_image(batched, tiny):  # noqa: F811
    assert batched.artifact("tflite").read_bytes() == tiny.artifact("tflite").read_bytes()
    for precision in ("int8", "float32"):
        free, one = (onnx.load(bundle.artifact("onnx", precision)) for bundle in (batched, tiny))
        assert {value.type.tensor_type.shape.dim[0].dim_param for value in (*free.graph.input, *free.graph.output)} == {
            "batch"
        }
        for_one(free)
        assert free.SerializeToString(deterministic=True) == one.SerializeToString(deterministic=True)


def test_the_bundle_says_which_of_its_files_take_batches(batched, tiny):  # noqa: F811
    assert {a.file: a.batch for a in batched.artifacts} == {
        "tiny_int8.tflite": 1,
        "tiny_int8.onnx": "dynamic",
        "tiny_fp32.onnx": "dynamic",
    }
    assert {a.batch for a in tiny.artifacts} == {1}
    schema = json.loads(files("edgefer").joinpath("schemas", "bundle-1.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(batched.manifest)
    assert contract_document(batched)["input"]["batch"] == ["onnx"]
    assert "batch" not in contract_document(tiny)["input"]
    assert b"any number of images at once" in contract_text(batched)
    assert b"any number of images at once" not in contract_text(tiny)


def test_it_is_loaded_rebuilt_and_evaluated_like_any_other(batched, tiny, tmp_path):  # noqa: F811
    image = faces(1)[0]
    assert (
        edgefer.load(batched.path, "onnx")(image)["affect"].as_dict()
        == edgefer.load(tiny.path, "onnx")(image)["affect"].as_dict()
    )
    assert rebuild(batched).exact == {"onnx": True, "tflite": True}
    np.savez(tmp_path / "f.npz", images=faces(20), labels=np.arange(20) % 4, label_names=np.array(EXPRESSIONS))
    agreements = [edgefer.evaluate(bundle, tmp_path / "f.npz").to_dict()["artifacts"] for bundle in (batched, tiny)]
    assert agreements[0]["onnx"]["agreement"] == agreements[1]["onnx"]["agreement"]


def test_batches_are_measured_of_the_files_that_take_them(batched, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path))
    few = Settings(frames=8, seconds=0.0, warmup=1)
    (run,) = edgefer.benchmark(batched, settings=few, batch=3, formats=["tflite", "onnx"]).runs
    batches = {
        file: {streams.batch for streams in artifact.throughput.tried} for file, artifact in run.artifacts.items()
    }
    assert batches == {"tiny_int8.tflite": {1}, "tiny_int8.onnx": {1, 3}}
    streams = next(s for s in run.artifacts["tiny_int8.onnx"].throughput.tried if s.batch == 3)
    assert streams.frames % 3 == 0


def test_where_nothing_takes_batches_that_is_told(tiny):  # noqa: F811
    with pytest.raises(UsageError, match="none of its artifacts takes several images at once"):
        edgefer.benchmark(tiny, batch=4)


def test_a_network_that_mixes_its_images_is_refused_by_the_node_that_does(tmp_path):
    model = network()
    model.graph.initializer.append(helper.make_tensor("images", TensorProto.INT64, [1], [0]))
    model.graph.node.append(helper.make_node("ReduceMean", ["y", "images"], ["mean"], "mean of images"))
    model.graph.node.append(helper.make_node("Sub", ["y", "mean"], ["z"], "less the mean"))
    model.graph.output[0].name = "z"
    onnx.save(model, tmp_path / "tiny.onnx")
    np.savez(tmp_path / "calibration.npz", images=faces(10))
    with pytest.raises(InputError, match="'mean of images' \\(ReduceMean\\) mixes the images"):
        edgefer.convert(
            tmp_path / "tiny.onnx",
            tmp_path / "b",
            spec=SPEC,
            calibration=tmp_path / "calibration.npz",
            batch="dynamic",
        )


def test_tflite_alone_takes_no_batches(tmp_path):
    with pytest.raises(UsageError, match="one image at a time"):
        edgefer.convert(output=tmp_path / "b", formats=["tflite"], batch="dynamic")


def test_class_tokens_are_repeated_for_each_image_and_files_are_rebuilt_without(tmp_path):
    random = np.random.default_rng(0)
    model = network()
    del model.graph.node[-3:]
    for name, values in {
        "tokens": np.array([1, 8, 64]),
        "token": random.normal(size=(1, 1, 8)).astype(np.float32),
        "places": random.normal(size=(1, 65, 8)).astype(np.float32),
        "first": np.array(0),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["a3", "tokens"], ["flat"], "flatten"),
            helper.make_node("Transpose", ["flat"], ["rows"], "rows", perm=[0, 2, 1]),
            helper.make_node("Concat", ["token", "rows"], ["all"], "all", axis=1),
            helper.make_node("Add", ["all", "places"], ["placed"], "placed"),
            helper.make_node("MatMul", ["placed", "flat"], ["scores"], "scores"),
            helper.make_node("Softmax", ["scores"], ["shares"], "shares"),
            helper.make_node("MatMul", ["shares", "rows"], ["mixed"], "mixed"),
            helper.make_node("Gather", ["mixed", "first"], ["class"], "class", axis=1),
            helper.make_node("Gemm", ["class", "w4", "b4"], ["y"], "classifier", transB=1),
        ]
    )
    onnx.save(model, tmp_path / "tiny.onnx")
    np.savez(tmp_path / "calibration.npz", images=faces(20, seed=9))
    bundle = edgefer.convert(
        tmp_path / "tiny.onnx", tmp_path / "b", spec=SPEC, calibration=tmp_path / "calibration.npz", batch="dynamic"
    )
    assert rebuild(bundle).exact == {"onnx": True, "tflite": True}
    pixels = random.integers(0, 256, (3, 16, 16, 3), np.uint8)
    for precision in ("int8", "float32"):
        session = onnx_session(bundle.artifact("onnx", precision))
        together, *alone = (session.run(None, {session.inputs[0]: each}) for each in (pixels, *pixels[:, np.newaxis]))
        for index, values in enumerate(together):
            np.testing.assert_allclose(values, np.concatenate([each[index] for each in alone]), rtol=0, atol=1e-6)
