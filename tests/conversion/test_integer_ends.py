"""`convert --io int8`: artifacts that take integers and return integers, with nothing else between."""

import json
import subprocess
import sys
import zipfile
from importlib.resources import files

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import edgefer
from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.errors import InputError, UsageError
from edgefer.evaluation.inspection import inspect
from edgefer.evaluation.rebuild import rebuild
from edgefer.runtime.runners import open_runner, tflite_interpreter
from tests.conversion.files import replaced
from tests.evaluation.conftest import tiny  # noqa: F401
from tests.evaluation.tiny import EXPRESSIONS, SPEC, faces, network

FORMATS = ("tflite", "onnx")


def convert(folder, model=None, spec=SPEC, **options):
    onnx.save(model or network(), folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", images=faces(40, seed=9))
    calibration = folder / "calibration.npz"
    return edgefer.convert(
        folder / "tiny.onnx", folder / "bundle", spec=spec, calibration=calibration, io="int8", **options
    )


@pytest.fixture(scope="module")
def integers(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("integers"), batch="dynamic")


def heads(bundle, format, pixels):
    runner = open_runner(bundle.artifact(format), format)
    found = [runner(image) for image in pixels]
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def test_the_files_hold_nothing_but_integers(integers, tmp_path):
    model = unpack(integers.artifact("tflite").read_bytes()).subgraphs[0]
    assert {tensor.type for tensor in model.tensors} == {schema.TensorType.INT8, schema.TensorType.INT32}
    file = onnx.load(integers.artifact("onnx"))
    ends = [value.type.tensor_type.elem_type for value in (*file.graph.input, *file.graph.output)]
    assert ends == [TensorProto.UINT8] * 4
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(integers.artifact("onnx"), options, providers=["CPUExecutionProvider"])
    optimised = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    in_float = {"DequantizeLinear", "Tanh"}  # of which ONNX Runtime has no integer kernel
    assert {op for op in optimised if not op.startswith("Q")} <= {"Flatten", "Slice", "Transpose", *in_float}


@pytest.mark.parametrize("format", FORMATS)
def test_answers_are_those_of_float_ends_to_a_step(integers, tiny, format):  # noqa: F811
    pixels = np.random.default_rng(1).integers(0, 256, (30, 16, 16, 3), np.uint8)
    expected, found = (heads(bundle, format, pixels) for bundle in (tiny, integers))
    for name, step in {"expression": 1 / 256, "affect": 1 / 128, "units": 1 / 256}.items():
        assert np.abs(expected[name] - found[name]).max() <= 1.01 * step
        assert not np.any(found[name] / step % 1)


def test_scale_and_zero_point_are_in_files_and_manifest(integers):
    stored = {artifact.format: artifact.io for artifact in integers.artifacts if not artifact.is_reference}
    assert stored["tflite"]["image"] == {"dtype": "int8", "scale": 1.0, "zero_point": -128}
    assert stored["onnx"]["image"] == {"dtype": "uint8", "scale": 1.0, "zero_point": 0}
    interpreter = tflite_interpreter(integers.artifact("tflite"))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    for name, each in zip(("image", *(head.name for head in integers.spec.outputs)), details, strict=True):
        entry = stored["tflite"][name]
        assert each["quantization"] == (entry["scale"], entry["zero_point"])
        assert stored["onnx"][name]["zero_point"] == entry["zero_point"] + 128
    document = json.loads(files("edgefer").joinpath("schemas", "bundle-1.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(document).validate(integers.manifest)


def test_it_is_loaded_rebuilt_evaluated_and_inspected_like_any_other(integers, tiny, tmp_path):  # noqa: F811
    image = faces(1)[0]
    for format in FORMATS:
        tops = [edgefer.load(bundle.path, format)(image)["expression"].top for bundle in (integers, tiny)]
        assert tops[0] == tops[1]
    assert rebuild(integers).exact == {"onnx": True, "tflite": True}
    data = tmp_path / "f.npz"
    np.savez(data, images=faces(20), labels=np.arange(20) % 4, label_names=np.array(EXPRESSIONS))
    found, expected = (edgefer.evaluate(bundle, data).to_dict()["artifacts"] for bundle in (integers, tiny))
    for format in FORMATS:
        assert found[format]["agreement"] == expected[format]["agreement"]
        assert found[format]["kl"] < expected[format]["kl"] + 1e-3
    layers = inspect(integers, data).layers
    assert {layer.max_lsb for layer in layers.layers} <= {0, 1}


def test_an_operator_without_an_integer_kernel_in_litert_is_named(tmp_path):
    model = network()
    six = next(each for each in model.graph.initializer if each.name == "six")
    six.CopyFrom(onnx.numpy_helper.from_array(np.asarray(3, np.float32), "six"))
    with pytest.raises(InputError, match=r"LiteRT has no integer kernel for MAXIMUM"):
        convert(tmp_path, model)


@pytest.mark.parametrize(
    "options", [{"precision": "w8"}, {"precision": "fp16"}, {"mixed": True}, {"max_drop": 0.5}], ids=str
)
def test_float_arithmetic_contradicts_it(tmp_path, options):
    with pytest.raises(UsageError, match="all of it computes in int8"):
        convert(tmp_path, **options)


def test_no_weights_take_four_bits_for_the_budget(tmp_path):
    bundle = convert(tmp_path, budget=4_000)
    assert {params.bits for params in bundle.plan.tensors.values()} == {8, 32}
    assert {artifact.format for artifact in bundle.over_budget} == set(FORMATS)


def test_what_computes_in_float_is_named(tmp_path):
    with pytest.raises(InputError, match=r"node 'gate' \(Elu\) computes in float"):
        convert(tmp_path, replaced(network(), "gate", "Elu"))


def test_a_gray_network_and_a_head_without_activation(tmp_path):
    model = network()
    weights = next(each for each in model.graph.initializer if each.name == "w1")
    gray = onnx.numpy_helper.to_array(weights).sum(axis=1, keepdims=True)
    weights.CopyFrom(onnx.numpy_helper.from_array(gray, "w1"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    spec = {
        "input": {**SPEC["input"], "color": "GRAY"},
        "outputs": [SPEC["outputs"][0], {**SPEC["outputs"][1], "activation": "none"}],
    }
    bundle = convert(tmp_path, model, spec)
    pixels = np.random.default_rng(2).integers(0, 256, (20, 16, 16, 3), np.uint8)
    tflite, other = (heads(bundle, format, pixels)["affect"] for format in FORMATS)
    reference = open_runner(bundle.artifact("onnx", "float32"), "onnx")
    exact = np.stack([reference(image)["affect"] for image in pixels])
    assert np.array_equal(tflite, other)
    assert np.square(tflite - exact).sum() < 1e-2 * np.square(exact - exact.mean(axis=0)).sum()


def test_a_package_tells_its_samples_what_integers_stand_for(integers, tmp_path):
    pytest.importorskip("PIL")
    with zipfile.ZipFile(edgefer.package(integers, tmp_path / "app.zip").path) as package:
        package.extractall(tmp_path)
    contract = json.loads((tmp_path / "preprocessing.json").read_text())
    assert {format: dict(ends) for format, ends in contract["integers"].items()} == {
        artifact.format: artifact.io for artifact in integers.artifacts if artifact.io
    }
    assert "every pixel less 128" in (tmp_path / "PREPROCESSING.md").read_text()
    assert not (tmp_path / "samples" / "swift").exists()  # TensorFlow Lite's Swift library has no int8 tensors
    sample = tmp_path / "samples" / "python" / "expression.py"
    done = subprocess.run([sys.executable, sample, "--golden"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("off by 0.0000, pixels") == 12
