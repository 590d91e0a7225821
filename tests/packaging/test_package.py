"""Packages: what is in them, that equal inputs give equal bytes, and that verification refuses what is not one."""

import copy
import json
import shutil
import subprocess

import pytest

import edgefer
from edgefer.bundle import Bundle
from edgefer.errors import EdgeferError, InputError, UsageError
from edgefer.packaging.archive import read_archive, write_archive
from edgefer.packaging.browser_runtime import browser_runtime
from edgefer.packaging.provenance import Provenance
from edgefer.packaging.sbom import bill_of_materials
from tests.evaluation.tiny import faces

CARDS = ("README.md", "MODEL_CARD.md", "PREPROCESSING.md", "preprocessing.json", "labels.txt", "sbom.cdx.json")


@pytest.fixture
def packed(tiny, tmp_path):
    return edgefer.package(tiny, tmp_path / "app.zip").path


@pytest.fixture(scope="module")
def evaluation(tiny, tmp_path_factory):
    """What `evaluate --json` says of the small bundle on labelled faces."""
    import numpy as np

    folder = tmp_path_factory.mktemp("evaluation")
    labels = np.arange(80) % 4
    np.savez(folder / "faces.npz", images=faces(80), labels=labels, label_names=["angry", "happy", "neutral", "sad"])
    return edgefer.evaluate(tiny, folder / "faces.npz", layer_images=0).to_dict()


def contents(path):
    return read_archive(path.read_bytes(), str(path))


def test_a_package_holds_all_that_an_app_needs(tiny, packed):
    files = contents(packed)
    assert {*CARDS, "SHA256SUMS", "golden/expected.tsv", "browser/index.html"} < files.keys()
    for artifact in tiny.artifacts:
        packaged = files.get(f"models/{artifact.file}")
        assert packaged == ((tiny.path / artifact.file).read_bytes() if artifact.precision == "int8" else None)
    assert {name.split("/")[1] for name in files if name.startswith("samples/")} == {"python", "cpp", "kotlin", "swift"}


def test_packaged_artifacts_still_say_what_they_mean(tiny, packed, tmp_path):
    shutil.unpack_archive(packed, tmp_path / "app")
    for artifact in (tmp_path / "app" / "models").iterdir():
        assert edgefer.load(artifact).spec == tiny.spec


def test_equal_inputs_give_equal_bytes(tiny, tmp_path):
    first, second = (edgefer.package(tiny, tmp_path / name, licence="MIT") for name in ("a.zip", "b.zip"))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256


def test_coreutils_can_check_the_sums(packed, tmp_path):
    shutil.unpack_archive(packed, tmp_path / "app")
    subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "app", check=True, capture_output=True
    )
    assert len((tmp_path / "app" / "SHA256SUMS").read_text().splitlines()) == len(contents(packed)) - 1


def test_the_contract_states_the_spec(tiny, packed):
    contract = json.loads(contents(packed)["preprocessing.json"])
    assert contract["input"]["shape"] == [1, *tiny.spec.input.size, 3]
    assert (contract["input"]["dtype"], contract["input"]["color"]) == ("uint8", "RGB")
    assert {output["name"]: output["labels"] for output in contract["outputs"]} == {
        output.name: list(output.labels) for output in tiny.spec.outputs
    }
    assert [output["values"] for output in contract["outputs"]] == [
        "probabilities that add up to 1",
        "from -1 to 1",
        "a probability each",
    ]
    text = contents(packed)["PREPROCESSING.md"].decode()
    assert "(1, 16, 16, 3), RGB" in text
    assert "resize((16, 16), Image.Resampling.BILINEAR)" in text


def test_a_card_without_an_evaluation_says_so(packed):
    card = contents(packed)["MODEL_CARD.md"].decode()
    for words in ("**Not evaluated.**", "**not stated**", "Article 5(1)(f)", "Article 50(3)", "not a feeling"):
        assert words in card


def test_a_card_tells_what_was_measured(tiny, evaluation, tmp_path):
    told = copy.deepcopy(evaluation)
    told["artifacts"]["tflite"]["accuracy_drop"] = {"points": 1.25, "ci95": [-0.5, 3]}
    told["artifacts"]["tflite"]["agreement"] = {"value": 0.9625, "ci95": [0.925, 0.9875]}
    (tmp_path / "e.json").write_text(json.dumps(told | {"heads": None}))
    (tmp_path / "about.md").write_text("Trained on drawings.")
    made = edgefer.package(
        tiny, tmp_path / "a.zip", evaluation=tmp_path / "e.json", licence="CC0-1.0", about=tmp_path / "about.md"
    )
    files = contents(made.path)
    card = files["MODEL_CARD.md"].decode()
    assert f"80 images of {told['data']['source']}" in card
    assert "1.250 (-0.500 to 3.000)" in card
    assert "96.2 % (92.5 % to 98.8 %)" in card
    assert f"{100 * told['artifacts']['onnx']['accuracy']:.1f} %" in card
    assert "| CC0-1.0 |" in card
    assert "Trained on drawings." in card
    assert "Not evaluated" not in card
    tflite = json.loads(files["sbom.cdx.json"])["components"][0]["modelCard"]
    assert {
        "type": "expression: accuracy lost against float, points",
        "value": "1.250000",
        "confidenceInterval": {"lowerBound": "-0.500000", "upperBound": "3.000000"},
    } in tflite["quantitativeAnalysis"]["performanceMetrics"]


def test_a_card_tells_of_every_output(tiny, evaluation, tmp_path):
    (tmp_path / "e.json").write_text(json.dumps(evaluation))
    made = edgefer.package(tiny, tmp_path / "a.zip", evaluation=tmp_path / "e.json")
    card = contents(made.path)["MODEL_CARD.md"].decode()
    for output in tiny.spec.outputs:
        assert f"### Output `{output.name}`" in card


def test_names_from_outside_cannot_break_the_card(tiny, evaluation, tmp_path):
    hostile = copy.deepcopy(evaluation)
    hostile["data"]["source"] = "a|b`\n<script>alert()</script>"
    (tmp_path / "e.json").write_text(json.dumps(hostile))
    card = contents(edgefer.package(tiny, tmp_path / "a.zip", evaluation=tmp_path / "e.json").path)["MODEL_CARD.md"]
    assert b"<script" not in card
    assert b"a\\|b\\`" in card


def test_an_evaluation_of_another_bundle_is_refused(tiny, evaluation, tmp_path):
    other = copy.deepcopy(evaluation)
    other["bundle"]["artifacts"]["tflite"]["sha256"] = "0" * 64
    (tmp_path / "e.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match="is about other files"):
        edgefer.package(tiny, tmp_path / "a.zip", evaluation=tmp_path / "e.json")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "edgefer.evaluation/1"}', "null", '"text"'])
def test_what_is_no_evaluation_is_refused(tiny, tmp_path, text):
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(InputError, match=r"e\.json: (cannot be read|not a file of schema|damaged)"):
        edgefer.package(tiny, tmp_path / "a.zip", evaluation=tmp_path / "e.json")


def test_the_bill_of_materials_tells_of_integers_that_go_in_and_out(tiny):
    head = tiny.spec.outputs[0].name
    end = {"dtype": "int8", "scale": 1.0, "zero_point": -128}
    artifacts = [{**each, "io": {"image": end, head: end}} for each in tiny.manifest["artifacts"]]
    bundle = Bundle(tiny.path, {**tiny.manifest, "artifacts": artifacts})
    bill = json.loads(bill_of_materials(bundle, Provenance.of(bundle), None, "", []))
    parameters = bill["components"][0]["modelCard"]["modelParameters"]
    assert parameters["inputs"] == [{"format": "int8 RGB image, (1, 16, 16, 3)"}]
    assert parameters["outputs"][0] == {"format": f"int8, {head}"}
    assert parameters["outputs"][1]["format"].startswith("float32, ")


def test_the_bill_of_materials_is_cyclonedx(tiny, evaluation, tmp_path):
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    (tmp_path / "e.json").write_text(json.dumps(evaluation))
    bills = [
        contents(edgefer.package(tiny, tmp_path / "a.zip", **options).path)["sbom.cdx.json"].decode()
        for options in ({}, {"evaluation": tmp_path / "e.json", "licence": "Apache-2.0"})
    ]
    for bill in bills:
        assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
        kinds = [component["type"] for component in json.loads(bill)["components"]]
        assert kinds == ["machine-learning-model", "machine-learning-model", "library"]


def test_what_is_not_a_package_is_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.zip").write_bytes(b"years of work")
    with pytest.raises(UsageError, match="is not a package; it is left alone"):
        edgefer.package(tiny, tmp_path / "thesis.zip")
    assert (tmp_path / "thesis.zip").read_bytes() == b"years of work"


def test_a_file_that_is_no_signature_is_left_alone(tiny, tmp_path):
    (tmp_path / "app.zip.sig").write_text("notes")
    with pytest.raises(UsageError, match="is not a signature; it is left alone"):
        edgefer.package(tiny, tmp_path / "app.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["app.zip.sig"]


@pytest.mark.parametrize("broken", ["quantization", "source", "tools", "created"])
def test_a_manifest_that_lacks_the_provenance_is_refused(tiny, tmp_path, broken):
    manifest = {key: value for key, value in tiny.manifest.items() if key != broken}
    with pytest.raises(InputError, match="does not tell where the bundle comes from"):
        edgefer.package(edgefer.Bundle(tiny.path, manifest), tmp_path / "app.zip")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resize": "bicubic"}, ("Resampling.BICUBIC", "its `weight` is bilinear: make it bicubic")),
        ({"fit": "crop", "crop_fraction": 0.875}, ("until it covers 18 x 18", "the middle 16 x 16", "it stretches")),
    ],
)
def test_the_contract_tells_of_other_ways_to_resize(tiny, tmp_path, change, words):
    manifest = {**tiny.manifest, "input": {**tiny.manifest["input"], **change}}
    made = edgefer.package(edgefer.Bundle(tiny.path, manifest), tmp_path / "app.zip")
    text = contents(made.path)["PREPROCESSING.md"].decode()
    assert all(word in text for word in words)


def test_an_older_package_is_replaced_with_its_signature(tiny, keys):
    first = edgefer.package(tiny, keys / "app.zip", sign_key=keys / "maker")
    assert first.signature == keys / "app.zip.sig"
    edgefer.package(tiny, keys / "app.zip", licence="MIT")
    assert not (keys / "app.zip.sig").exists(), "it is not the new package's"


def test_a_key_that_cannot_sign_leaves_nothing_behind(tiny, tmp_path):
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(UsageError, match="cannot sign"):
        edgefer.package(tiny, tmp_path / "app.zip", sign_key=tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_signed_package_is_verified(tiny, keys):
    made = edgefer.package(tiny, keys / "app.zip", sign_key=keys / "maker")
    held = edgefer.verify(made.path, key=keys / "maker.pub")
    assert (held.signed, held.sha256, held.files) == (True, made.sha256, made.files)
    with pytest.raises(InputError, match="not signed by the owner"):
        edgefer.verify(made.path, key=keys / "other.pub")


def test_an_unsigned_package_is_not_taken_for_a_signed_one(packed, keys):
    assert not edgefer.verify(packed).signed
    with pytest.raises(InputError, match=r"app\.zip\.sig: cannot be read"):
        edgefer.verify(packed, key=keys / "maker.pub")


def test_a_byte_changed_anywhere_is_refused(packed):
    whole = packed.read_bytes()
    assert edgefer.verify(packed)
    for position in range(0, len(whole), len(whole) // 97):
        packed.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(InputError):
            edgefer.verify(packed)


@pytest.mark.parametrize("change", ["altered", "added", "removed", "without sums"])
def test_files_that_differ_from_the_sums_are_refused(packed, change):
    files = contents(packed)
    if change == "altered":
        files["labels.txt"] = b"happy\nangry\n"
    elif change == "added":
        files["extra.txt"] = b""
    else:
        del files["labels.txt" if change == "removed" else "SHA256SUMS"]
    packed.write_bytes(write_archive(files))
    with pytest.raises(InputError, match="SHA256SUMS"):
        edgefer.verify(packed)


def test_a_bundle_without_onnx_has_no_samples_for_it(tiny, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    manifest["artifacts"] = [a for a in manifest["artifacts"] if (a["format"], a["precision"]) != ("onnx", "int8")]
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(manifest))
    bundle = edgefer.Bundle.open(tmp_path / "bundle", verify=False)
    names = contents(edgefer.package(bundle, tmp_path / "app.zip").path)
    assert not any(name.startswith(("browser/", "samples/cpp/")) for name in names)
    whole = contents(edgefer.package(tiny, tmp_path / "whole.zip").path)
    for said in (b"browser", b"x64quantprecision"):
        assert said not in names["README.md"]
        assert said in whole["README.md"]
    with pytest.raises(UsageError, match="needs an ONNX artifact"):
        edgefer.package(bundle, tmp_path / "app.zip", browser_demo=True)


def npm(folder, script):
    (folder / "bin").mkdir()
    (folder / "bin" / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "npm").chmod(0o755)
    return str(folder / "bin")


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("echo no network >&2; exit 1", EdgeferError, "no network"),
        ("echo altered > onnxruntime-web-1.30.0.tgz", InputError, "its SHA-512 differs"),
        (None, UsageError, "cannot be started"),
    ],
)
def test_a_demo_without_onnxruntime_web_says_what_to_do(tmp_path, monkeypatch, edgefer_home, script, kind, words):
    monkeypatch.setenv("PATH", "" if script is None else f"{npm(tmp_path, script)}:/usr/bin:/bin")
    with pytest.raises(kind, match=words) as error:
        browser_runtime()
    assert "npm" in error.value.remedy
    assert list((edgefer_home / "cache").iterdir()) == []
