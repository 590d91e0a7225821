import json
import zipfile
from dataclasses import replace
from importlib.resources import files

import jsonschema
import numpy as np
import onnx
import pytest

import edgefer
from edgefer.bundle import Bundle
from edgefer.cli.convert import summary
from edgefer.evaluation.inspection import inspect
from edgefer.evaluation.rebuild import rebuild
from edgefer.graph.onnx_io import to_onnx
from tests.graph.networks import network, norm_constants, numbers

SCHEMA = json.loads(files("edgefer").joinpath("schemas/bundle-1.schema.json").read_text("utf-8"))

TEXT = """a = Conv<strides=[2, 2]>(x, w)
    b = BatchNormalization(a, gamma, beta, mean, variance)
    s = Sigmoid(b)
    c = Mul(b, s)
    d = GlobalAveragePool(c)
    e = Flatten(d)
    logits = Gemm(e, v)"""

SPEC = {
    "input": {"size": [16, 12], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "outputs": [
        {"name": "mood", "kind": "expression", "activation": "softmax", "labels": ["sad", "happy"], "columns": [0, 2]},
        {
            "name": "arousal",
            "kind": "other",
            "activation": "tanh",
            "labels": ["arousal"],
            "columns": [2, 3],
            "thresholds": [0.4],
        },
    ],
}


@pytest.fixture(scope="module")
def bring(tmp_path_factory):
    """A network and faces, as a user brings them."""
    folder = tmp_path_factory.mktemp("brought")
    constants = {"w": numbers(4, 3, 3, 3), **norm_constants(4), "v": numbers(4, 3)}
    onnx.save(to_onnx(network(TEXT, "logits", constants, x=(1, 3, 16, 12))), folder / "tiny.onnx")
    images = np.random.default_rng(0).integers(0, 256, (12, 20, 20, 3), dtype=np.uint8)
    np.savez(folder / "faces.npz", images=images)
    return folder


def convert(bring, output, **options):
    return edgefer.convert(bring / "tiny.onnx", output, spec=SPEC, calibration=bring / "faces.npz", **options)


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"formats": ("tflite", "onnx")}, {"solution", "max_drop"}),
        ({"formats": ("onnx",)}, {"solution", "max_drop"}),
        ({"mixed": True}, {"max_drop"}),
        ({"max_drop": 0.5}, set()),
    ],
)
def test_a_manifest_is_as_its_published_schema_says(bring, tmp_path, options, absent):
    manifest = json.loads((convert(bring, tmp_path / "out", **options).path / "manifest.json").read_text())
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    assert [error.message for error in validator.iter_errors(manifest)] == []
    assert set(manifest) == set(SCHEMA["properties"]) - absent - {"latency", "rounds", "states", "unlabelled"}
    quantization = SCHEMA["properties"]["quantization"]["properties"]
    assert set(manifest["quantization"]) == set(quantization) - {"undelegated_time", "shrunk"}


def test_what_is_slow_and_what_may_differ_is_told_with_its_share_of_the_time(bring, tmp_path):
    text = TEXT.replace("d = GlobalAveragePool(c)", "q = Atan(c)\nd = GlobalAveragePool(q)")
    constants = {"w": numbers(4, 3, 3, 3), **norm_constants(4), "v": numbers(4, 3)}
    onnx.save(to_onnx(network(text, "logits", constants, x=(1, 3, 16, 12))), tmp_path / "slow.onnx")
    bundle = edgefer.convert(tmp_path / "slow.onnx", tmp_path / "out", spec=SPEC, calibration=bring / "faces.npz")
    quantization = bundle.manifest["quantization"]
    assert [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(dict(bundle.manifest))] == []
    assert [entry.split()[0] for entry in quantization["undelegated"]] == ["ATAN2"]
    assert 0 < quantization["undelegated_time"]["ATAN2"] <= 1
    assert any(entry.startswith("Atan") for entry in quantization["may_differ"])
    assert "ATAN2" in (bundle.path / "report.html").read_text()
    assert "1 ATAN2 (" in summary(bundle, dict.fromkeys((artifact.file for artifact in bundle.artifacts), 1.0))


def test_the_summary_tells_what_part_of_the_network_as_it_was_or_was_shrunk_is_left_out(bring, tmp_path):
    bundle = convert(bring, tmp_path / "out", formats=("onnx",))
    shrunk = {"parameters": 50, "parameters_before": 100, "macs": 5, "macs_before": 9}
    for left_out, more, told in ((10, {}, None), (11, {}, "11%"), (10, {"shrunk": shrunk}, "20%")):
        found = {**bundle.manifest["quantization"], "parameters": 100, "left_out": left_out, **more}
        changed = replace(bundle, manifest={**bundle.manifest, "quantization": found})
        text = summary(changed, dict.fromkeys((artifact.file for artifact in bundle.artifacts), 1.0))
        assert (f"Channels that hardly matter were left out, and {told} of" in text) == (told is not None)
        assert ("hardly matter" in text) == (told is not None)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edgefer.bundle/2"},
        {"outputs": []},
        {"budget_bytes": "8MB"},
        {"created": "yesterday"},
        {"source": {"file": "a", "sha256": "abc", "family": "b"}},
        {"artifacts": [{"file": "../a.onnx"}]},
    ],
)
def test_another_manifest_is_not(bring, tmp_path, change):
    manifest = {**convert(bring, tmp_path / "out", formats=("onnx",)).manifest, **change}
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(manifest))


def test_the_same_inputs_give_the_same_bytes(bring, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first, second = convert(bring, tmp_path / "a"), convert(bring, tmp_path / "b")
    assert first.manifest["created"] == "2001-09-09T01:46:40Z"
    names = sorted(path.name for path in first.path.iterdir())
    assert names == sorted(path.name for path in second.path.iterdir())
    assert [name for name in names if (first.path / name).read_bytes() != (second.path / name).read_bytes()] == []


def test_a_converted_bundle_is_whole_and_its_artifacts_agree(bring, tmp_path):
    bundle = Bundle.open(convert(bring, tmp_path / "out").path)
    image = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    tflite, onnx_model = (edgefer.load(bundle.path, format)(image) for format in ("tflite", "onnx"))
    assert list(tflite) == list(onnx_model) == ["mood", "arousal"]
    for head in tflite:
        np.testing.assert_allclose(tflite[head].values, onnx_model[head].values, atol=0.02)


@pytest.mark.parametrize("precision", ["w8", "fp16"])
def test_small_weights_alone_make_a_bundle_that_all_commands_take(bring, tmp_path, precision):
    bundle = Bundle.open(convert(bring, tmp_path / "out", precision=precision).path)
    names = {artifact.file for artifact in bundle.artifacts}
    assert names == {f"tiny_{precision}.tflite", f"tiny_{precision}.onnx", "tiny_fp32.onnx"}
    assert bundle.precision == precision
    assert [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(dict(bundle.manifest))] == []
    assert rebuild(bundle).exact == {"tflite": True, "onnx": True}
    evaluation = edgefer.evaluate(bundle.path, bring / "faces.npz")
    assert {"tflite", "onnx"} <= set(evaluation.outputs.values)
    edgefer.package(bundle.path, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert any(name.endswith(f"models/tiny_{precision}.tflite") for name in archive.namelist())
    assert inspect(bundle).undelegated == ()
    image = np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    reference = edgefer.load(bundle.path / "tiny_fp32.onnx")(image)
    for format in ("tflite", "onnx"):
        found = edgefer.load(bundle.path, format)(image)
        for head in found:
            np.testing.assert_allclose(found[head].values, reference[head].values, atol=0.02)


def test_what_chooses_among_int8_and_float_is_refused_where_all_is_float(bring, tmp_path):
    with pytest.raises(edgefer.UsageError, match="computes in float throughout"):
        convert(bring, tmp_path / "out", precision="w8", mixed=True)
