import json
import os
from dataclasses import replace
from hashlib import sha256

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgefer
from edgefer.bundle import Bundle
from edgefer.conversion.convert import convert
from edgefer.device.results import SCHEMA
from edgefer.errors import InputError, UsageError
from edgefer.host.progress import Silent
from edgefer.images import open_images
from edgefer.images.preprocess import to_pixels
from edgefer.plan import Plan
from edgefer.quantize.costs.cost import CostModel, Line
from edgefer.quantize.costs.machines import LITERT_X86
from edgefer.quantize.equalise.leave_out import losable
from edgefer.quantize.observe.drop import Answer
from edgefer.runtime.runners import open_runner
from tests.conversion.files import replaced, write_faces, write_network
from tests.evaluation.tiny import EXPRESSIONS, SPEC, network


@pytest.fixture
def model(tmp_path):
    return write_network(tmp_path / "tiny.onnx")


@pytest.fixture
def faces(tmp_path):
    return write_faces(tmp_path / "faces")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def nothing_beside(path, *expected):
    """Only these files lie where `path` would: no temporary ones, nothing half-written."""
    return sorted(file.name for file in path.parent.iterdir()) == sorted(expected)


def test_a_bundle_comes_back_and_nothing_is_printed(model, faces, out, capfd):
    bundle = edgefer.convert(model, out, calibration=faces)
    assert isinstance(bundle, edgefer.Bundle)
    assert bundle.path == out
    bundle.verify()
    assert capfd.readouterr() == ("", "")


def test_paths_may_be_strings_and_output_defaults_to_the_networks_name(model, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = convert("tiny.onnx", calibration="faces")
    assert str(bundle.path) == "tiny_bundle"
    assert Bundle.open(tmp_path / "tiny_bundle").name == "tiny"


def test_a_calibration_set_of_other_classes_at_any_depth_calibrates(model, tmp_path, out):
    for person in range(10):
        write_faces(tmp_path / "people" / ("train" if person < 8 else "test") / f"person {person}", 3, seed=person)
    bundle = convert(model, out, calibration=tmp_path / "people")
    assert bundle.manifest["calibration"]["count"] + bundle.manifest["held_back"]["count"] == 30
    assert bundle.manifest["held_back"]["agreement"]["onnx"].keys() == {"expression", "affect", "units"}
    proof = bundle.manifest["proof"]
    assert (proof["against"], proof["images"]) == ("file", 4)
    assert proof["differences"].keys() == {"expression", "affect", "units"}
    assert 0 <= max(proof["differences"].values()) < 1e-4
    assert "differs from the file itself by at most" in (bundle.path / "report.html").read_text("utf-8")


def test_labels_are_matched_before_the_work_begins_and_only_for_a_bound_on_the_drop(model, tmp_path, out):
    for name in ("wut", "ekel"):
        write_faces(tmp_path / "faces" / name, 15, seed=len(name))
    heard = Listener()
    convert(model, out, calibration=tmp_path / "faces", progress=heard)
    assert not [line for line in heard.lines if "none of its classes" in line]
    convert(model, out, calibration=tmp_path / "faces", max_drop=50, progress=heard)
    told = [index for index, line in enumerate(heard.lines) if "none of its classes (ekel, wut)" in line]
    assert len(told) == 1
    assert told[0] < [index for index, line in enumerate(heard.lines) if line == "calibrate"][-1]


class Listener(Silent):
    """Keeps stages and notes in order."""

    def __init__(self):
        self.lines = []

    def stage(self, name, total=None):
        self.lines.append(name)
        return super().stage(name, total)

    def note(self, message):
        self.lines.append(message)


def test_few_images_too_are_fitted_on_and_measured_on_apart(model, faces, out, monkeypatch):
    seen = []

    def heard(graph, feeds, sensitivity):
        seen.append([{feed["image"].tobytes() for feed in each} for each in (feeds, sensitivity.feeds)])
        return losable(graph, feeds, sensitivity)

    monkeypatch.setattr("edgefer.quantize.evened.losable", heard)
    convert(model, out, calibration=faces, samples=20)
    ((fitted, measured),) = seen
    assert fitted
    assert measured
    assert not fitted & measured


def test_equal_inputs_give_equal_bytes(model, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    digests = []
    for number in range(2):
        monkeypatch.setenv("EDGEFER_HOME", str(tmp_path / f"home{number}"))  # the second does not find a cache
        bundle = convert(model, tmp_path / f"out{number}", calibration=faces)
        digests.append({file.name: sha256(file.read_bytes()).hexdigest() for file in bundle.path.iterdir()})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 8
    assert bundle.manifest["created"] == "2023-11-14T22:13:20Z"


def test_cached_statistics_give_the_same_bundle(model, faces, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = (convert(model, tmp_path / name, calibration=faces) for name in ("a", "b"))
    assert (first.path / "SHA256SUMS").read_text() == (second.path / "SHA256SUMS").read_text()


def test_all_heads_are_in_all_files(model, faces, out):
    bundle = convert(model, out, calibration=faces)
    names = ["expression", "affect", "units"]
    assert [output.name for output in bundle.spec.outputs] == names
    assert [table["name"] for table in bundle.manifest["outputs"]] == names
    labels = (out / "labels.txt").read_text().splitlines()
    assert labels == [*EXPRESSIONS, "valence", "arousal", "AU1", "AU12", "AU25"]
    agreement = bundle.manifest["held_back"]["agreement"]
    assert {format: list(heads) for format, heads in agreement.items()} == {"tflite": names, "onnx": names}
    report = (out / "report.html").read_text()
    for name in (*names, *labels):
        assert name in report
    for artifact in bundle.artifacts:
        heads = open_runner(out / artifact.file, artifact.format)(np.full((16, 16, 3), 99, np.uint8))
        assert {name: values.shape for name, values in heads.items()} == {
            "expression": (4,),
            "affect": (2,),
            "units": (3,),
        }
        assert heads["expression"].sum() == pytest.approx(1, abs=1e-5)


def test_heads_may_be_outputs_of_their_own(tmp_path, faces, out):
    model = network()
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    classifier = model.graph.node.pop()
    del model.graph.output[:]
    for name, columns in (("mood", slice(0, 4)), ("affect", slice(4, 6))):
        rows = {f"{name}.weight": weights["w4"][columns], f"{name}.bias": weights["b4"][columns]}
        model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in rows.items())
        model.graph.node.append(onnx.helper.make_node("Gemm", [classifier.input[0], *rows], [name], name, transB=1))
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, [1, columns.stop - columns.start]))
    heads = [{**head, "tensor": tensor} for head, tensor in zip(SPEC["outputs"], ("mood", "affect"), strict=False)]
    for head in heads:
        del head["columns"]
    path = write_network(tmp_path / "two.onnx", model, spec=False)
    bundle = convert(path, out, calibration=faces, spec={"input": SPEC["input"], "outputs": heads})
    assert all(bundle.plan.is_int8(name) for name in ("mood", "network/affect"))  # the head is called affect already
    whole = convert(write_network(tmp_path / "tiny.onnx"), tmp_path / "whole", calibration=faces)
    expected = open_runner(whole.artifact("onnx", "float32"), "onnx")
    for format, precision, tolerance in (("onnx", "float32", 1e-5), ("onnx", "int8", 0.15), ("tflite", "int8", 0.15)):
        found = open_runner(bundle.artifact(format, precision), format)
        for index in range(5):
            pixels = to_pixels(open_images(faces).read(index), bundle.spec.input)
            for name in ("expression", "affect"):
                np.testing.assert_allclose(found(pixels)[name], expected(pixels)[name], atol=tolerance)


def test_images_that_were_calibrated_on_are_not_held_back(model, faces, out):
    bundle = convert(model, out, calibration=faces, samples=7)
    assert bundle.manifest["calibration"]["count"] == 7
    assert bundle.manifest["held_back"]["count"] == 6
    assert bundle.manifest["calibration"]["sha256"] != bundle.manifest["held_back"]["sha256"]


def test_one_format_can_be_left_out(model, faces, out):
    bundle = convert(model, out, calibration=faces, formats=["onnx"])
    assert [artifact.format for artifact in bundle.artifacts] == ["onnx", "onnx"]
    with pytest.raises(edgefer.InputError, match="holds no int8 tflite artifact"):
        bundle.artifact("tflite")


def test_an_unsupported_operator_is_named_with_what_to_do(tmp_path, faces, out):
    model = write_network(tmp_path / "odd.onnx", replaced(network(), "relu", "GlobalLpPool"))
    with pytest.raises(edgefer.UnsupportedOperatorError) as caught:
        convert(model, out, calibration=faces)
    assert (
        str(caught.value).splitlines()[0]
        == f"{model}: node 'relu': operator GlobalLpPool is not supported by the TFLite emitter"
    )
    assert "which was tried and works: --formats onnx" in caught.value.remedy
    assert "--tflite-backend onnx2tf" in caught.value.remedy
    assert not out.exists()
    assert convert(model, out, calibration=faces, formats=["onnx"]).artifact("onnx").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bad, tmp_path, faces, out):
    model = network()
    item = model.graph.initializer[0]
    values = numpy_helper.to_array(item).copy()
    values[0, 0, 0, 0] = bad
    item.CopyFrom(numpy_helper.from_array(values, item.name))
    path = write_network(tmp_path / "diverged.onnx", model)
    with pytest.raises(edgefer.InputError, match=r"diverged\.onnx: constant 'w1' holds values that are not finite"):
        convert(path, out, calibration=faces)
    assert not out.exists()


def test_without_a_spec_the_error_shows_what_to_write(tmp_path, faces, out):
    path = write_network(tmp_path / "bare.onnx", spec=False)
    with pytest.raises(edgefer.InputError, match="nothing says what the network's input and outputs mean") as caught:
        convert(path, out, calibration=faces)
    toml = caught.value.remedy.partition("\n\n")[2]
    path.with_name("bare.spec.toml").write_text(
        toml.replace("224, 224", "16, 16").replace('"angry", "disgust"', '"a0", "a1", "angry", "disgust"')
    )
    assert convert(path, out, calibration=faces).spec.outputs[0].labels[2] == "angry"


def test_labels_that_do_not_match_the_columns_are_counted(tmp_path, faces, out):
    heads = [{key: value for key, value in SPEC["outputs"][0].items() if key != "columns"}]
    with pytest.raises(edgefer.InputError, match=r"'expression' has 4 labels, but 'y' is \[1, 9\]"):
        convert(
            write_network(tmp_path / "tiny.onnx", spec=False),
            out,
            calibration=faces,
            spec={"input": SPEC["input"], "outputs": heads},
        )
    assert not out.exists()


def convert_and_listen(model, out, **options):
    """The bundle, and what the user is told on the way."""
    notes = []

    class Listener(type(edgefer.conversion.convert.SILENT)):
        def note(self, message):
            notes.append(message)

    return convert(model, out, progress=Listener(), **options), notes


def test_a_set_that_leaves_one_image_to_calibrate_on_is_called_too_small(model, tmp_path, out):
    _, notes = convert_and_listen(model, out, calibration=write_faces(tmp_path / "two", 2))
    assert any("too small: it is one image" in note for note in notes)


def test_poor_agreement_is_told(model, faces, out, monkeypatch):
    monkeypatch.setattr(
        "edgefer.conversion.convert.agreement", lambda *_: {"expression": 0.8333, "affect": 0.95, "units": 1.0}
    )
    _, notes = convert_and_listen(model, out, calibration=faces)
    assert [note.partition(";")[0] for note in notes] == [
        f"'expression' of the {format} file is far from float on held-back images, with 83.3 % agreement"
        for format in ("tflite", "onnx")
    ]


def test_any_head_that_is_noisy_is_told_though_its_answers_agree(model, tmp_path, out, monkeypatch):
    monkeypatch.setattr("edgefer.conversion.doubts.sqnr", lambda *_: {"expression": 3.0, "affect": 11.2, "units": 40.0})
    _, notes = convert_and_listen(model, out, calibration=write_faces(tmp_path / "many", 60), formats=["onnx"])
    (note,) = (note for note in notes if "far from float" in note)
    assert note.startswith("'affect' of the onnx file is far from float on held-back images, with ")
    assert "correlation and a signal-to-noise ratio of 11.2 dB;" in note


def test_answers_that_are_no_numbers_are_told(model, faces, out, monkeypatch):
    real = edgefer.conversion.convert.quantize_weights

    def broken(*args, **options):
        found = real(*args, **options)
        bias = next(name for name in found.graph.constants if name.startswith("b4"))
        return replace(
            found, graph=found.graph.with_constants({bias: found.graph.constants[bias] * np.float32(np.nan)})
        )

    monkeypatch.setattr("edgefer.conversion.convert.quantize_weights", broken)
    _, notes = convert_and_listen(model, out, calibration=faces, precision="w8")
    told = [note for note in notes if "is no number for" in note]
    assert told
    assert not any("try more calibration images" in note for note in notes)


def test_a_network_that_always_gives_the_same_answer_is_told(tmp_path, out):
    network_of_one_mood = network()
    (bias,) = (tensor for tensor in network_of_one_mood.graph.initializer if tensor.name == "b4")
    values = numpy_helper.to_array(bias).copy()
    values[1] += 1000
    bias.CopyFrom(numpy_helper.from_array(values, "b4"))
    model, faces = write_network(tmp_path / "one.onnx", network_of_one_mood), write_faces(tmp_path / "faces", 60)
    _, notes = convert_and_listen(model, out, calibration=faces)
    (note,) = (note for note in notes if "agreement there says nothing" in note)
    assert "answers 'happy' for all 12 held-back images" in note


def test_a_drop_is_judged_at_the_thresholds_of_the_spec(model, faces, out, monkeypatch):
    answers = {}
    real = edgefer.conversion.convert.quantize

    def spy(graph, heads, *args, **options):
        answers.update(heads)
        return real(graph, heads, *args, **options)

    monkeypatch.setattr("edgefer.conversion.convert.quantize", spy)
    convert(model, out, calibration=faces)
    assert list(answers.values()) == [Answer("softmax"), Answer("none"), Answer("sigmoid", (0.5, 0.4, 0.6))]


def test_a_drop_of_accuracy_needs_an_output_that_can_be_right(tmp_path, faces, out):
    model = write_network(tmp_path / "tiny.onnx", spec=False)
    spec = {"input": SPEC["input"], "outputs": [SPEC["outputs"][1]]}
    with pytest.raises(UsageError, match="a drop of accuracy cannot be bounded: no output of tiny"):
        convert(model, out, calibration=faces, spec=spec, max_drop=0.5)


def test_weights_that_were_learned_in_vain_are_not_kept(model, faces, tmp_path, monkeypatch):
    learn = pytest.importorskip("edgefer.quantize.fit.learn", reason="needs torch", exc_type=ImportError)

    def spoil(graph, plan, *_, **__):
        weights = [node.inputs[1] for node in graph.nodes if node.op == "Gemm"]
        return graph.with_constants({name: np.zeros_like(graph.constants[name]) for name in weights})

    monkeypatch.setattr(learn, "learn", spoil)
    bundle, notes = convert_and_listen(model, tmp_path / "learned", calibration=faces, effort="balanced")
    assert any("do no better on the held-back images" in note for note in notes)
    assert bundle.manifest["quantization"]["learned_steps"] == 0
    plain = convert(model, tmp_path / "plain", calibration=faces)
    assert bundle.artifact("tflite").read_bytes() == plain.artifact("tflite").read_bytes()


def test_weights_that_cannot_be_learned_stay_rounded_and_are_told(model, faces, out, monkeypatch):
    fitting = pytest.importorskip("edgefer.quantize.fit.fake_quantized", reason="needs torch", exc_type=ImportError)

    def refuse(*_):
        raise edgefer.UnsupportedOperatorError("norm", "LayerNormalization", "torch", remedy="")

    monkeypatch.setattr(fitting, "FakeQuantized", refuse)
    bundle, notes = convert_and_listen(model, out, calibration=faces, effort="balanced")
    assert any("cannot be learned: node 'norm'" in note for note in notes)
    assert bundle.manifest["quantization"]["learned_steps"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabelled": "faces"}, "where a network shrinks"),
        ({"shrink": True, "tflite_backend": "onnx2tf"}, "as it is"),
    ],
)
def test_options_of_shrinking_that_contradict_each_other_are_refused(model, faces, out, options, message):
    with pytest.raises(UsageError, match=message):
        convert(model, out, calibration=faces, **options)


def test_a_damaged_image_is_named_skipped_and_counted(model, faces, out):
    (faces / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (faces / "text.png").write_text("no image")
    bundle, notes = convert_and_listen(model, out, calibration=faces)
    assert [note.partition(":")[0] for note in notes] == ["skipped broken.jpg", "skipped text.png"]
    assert bundle.manifest["calibration"]["skipped"] == 2
    assert bundle.manifest["calibration"]["count"] == 24


def test_images_of_any_shape_are_resized_as_the_spec_says(model, tmp_path, out):
    folder = tmp_path / "odd"
    folder.mkdir()
    for index, shape in enumerate([(3, 200), (200, 3), (16, 16), (1, 1), (57, 31)]):
        rng = np.random.default_rng(index)
        header = f"P5 {shape[1]} {shape[0]} 255\n".encode()
        (folder / f"{index}.pgm").write_bytes(header + rng.integers(0, 256, shape).astype(np.uint8).tobytes())
    assert convert(model, out, calibration=folder).manifest["calibration"]["count"] == 4


def test_one_image_is_too_few(model, tmp_path, out):
    with pytest.raises(edgefer.InputError, match="one image is too few"):
        convert(model, out, calibration=write_faces(tmp_path / "one", 1))
    assert not out.exists()


@pytest.mark.parametrize("argument", ["model", "output", "calibration"])
def test_an_empty_name_is_not_the_working_directory(argument, model, faces, out):
    arguments = {"model": model, "output": out, "calibration": faces, argument: ""}
    with pytest.raises(edgefer.UsageError, match="the name of a file is empty"):
        convert(**arguments)


@pytest.mark.parametrize("formats", [(), ("tfjs",), ("onnx", "tfjs")])
def test_formats_that_do_not_exist_are_refused(formats, model, faces, out):
    with pytest.raises(edgefer.UsageError, match="formats are tflite, onnx"):
        convert(model, out, calibration=faces, formats=formats)


def test_a_directory_that_is_no_bundle_is_left_alone(model, faces, tmp_path):
    before = sorted(faces.iterdir())
    with pytest.raises(edgefer.UsageError, match="exists and is not a bundle"):
        convert(model, faces, calibration=faces)
    assert sorted(faces.iterdir()) == before


def test_missing_parents_are_made(model, faces, out):
    assert convert(model, out / "a" / "b", calibration=faces).path == out / "a" / "b"


def test_an_older_bundle_is_replaced(model, faces, out, tmp_path):
    first = convert(model, out, calibration=faces, samples=10)
    second = convert(model, out, calibration=faces, samples=12)
    assert first.manifest != second.manifest
    assert Bundle.open(out).manifest == second.manifest
    assert nothing_beside(out, "faces", "out", "tiny.onnx", "tiny.spec.toml")


def test_the_model_may_lie_where_nothing_can_be_written(model, faces, tmp_path):
    folder = tmp_path / "read only é ö"
    folder.mkdir()
    path = write_network(folder / "my net.onnx")
    folder.chmod(0o555)
    try:
        bundle = convert(path, tmp_path / "out", calibration=faces)
        assert bundle.artifact("tflite").name == "my net_int8.tflite"
        assert sorted(file.name for file in folder.iterdir()) == ["my net.onnx", "my net.spec.toml"]
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("stem", ["two\nlines", "\x1b[31mred", "back\\slash", os.fsdecode(b"not utf-8 \xff")])
def test_a_network_with_an_odd_name_gives_files_with_harmless_ones(stem, tmp_path, faces, out):
    bundle = convert(write_network(tmp_path / f"{stem}.onnx"), out, calibration=faces)
    bundle.verify()
    for file in out.iterdir():
        assert file.name.isprintable()
        assert "\\" not in file.name
    json.loads((out / "manifest.json").read_text("utf-8"))
    assert edgefer.load(out)(np.zeros((9, 9), np.uint8))["expression"].values.shape == (4,)


def test_an_output_that_is_not_utf8_is_refused_before_any_work(model, faces, tmp_path):
    with pytest.raises(edgefer.UsageError, match="its name is not UTF-8"):
        convert(model, tmp_path / os.fsdecode(b"out\xff"), calibration=faces)


def test_layers_may_share_weights_and_biases(tmp_path, faces, out):
    model = network()
    for item in model.graph.initializer:
        if item.name == "b2":
            model.graph.initializer.remove(item)
    next(node for node in model.graph.node if node.name == "depthwise").input[2] = "b1"
    bundle = convert(write_network(tmp_path / "tied.onnx", model), out, calibration=faces)
    assert all(bundle.plan.is_int8(name) for name in ("stem", "depthwise"))


def test_plan_and_artifacts_belong_together(model, faces, out):
    bundle = convert(model, out, calibration=faces)
    assert bundle.plan == Plan.from_json((out / "plan.json").read_text())
    stored = {item.name: item for item in onnx.load(bundle.artifact("onnx")).graph.initializer}
    for name, params in bundle.plan.tensors.items():
        if params.narrow:
            scale = numpy_helper.to_array(stored[f"{name}/scale"])
            np.testing.assert_array_equal(scale.reshape(-1), np.asarray(params.scale, np.float32))


def test_statistics_that_cannot_be_cached_are_no_error(model, faces, out, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path / "file"))
    convert(model, out, calibration=faces).verify()


def test_onnx_runtime_is_told_to_report_nothing():
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_calibration_set_may_be_an_array_file(model, out, tmp_path):
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (12, 20, 20), np.uint8))
    bundle = convert(model, out, calibration=tmp_path / "faces.npz")
    assert bundle.manifest["calibration"]["source"] == "faces.npz"
    assert len(open_images(tmp_path / "faces.npz")) == 12


def test_a_mixed_network_is_less_noisy_and_both_files_compute_it(model, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefer.conversion.convert.LATENCY", 10.0)
    bundle = convert(model, tmp_path / "mixed", calibration=faces, mixed=True)
    points = bundle.manifest["solution"]["points"]
    (chosen,) = (point for point in points if point["chosen"])
    assert chosen["float"]
    assert chosen["sqnr_db"] == max(point["sqnr_db"] for point in points) > points[0]["sqnr_db"]
    assert bundle.manifest["quantization"]["scheme"].startswith("mixed")
    pixels = to_pixels(open_images(faces).read(0), bundle.spec.input)
    found = [open_runner(bundle.artifact(f), f)(pixels)["expression"] for f in ("tflite", "onnx")]
    np.testing.assert_allclose(*found, atol=0.01)


def test_what_operators_cost_on_a_board_decides_what_computes_in_float(model, faces, tmp_path):
    lines = {(kind, compute): Line(1, 0, 0) for kind, compute in LITERT_X86.lines}
    board = CostModel("a board", "ns", lines, Line(1e-6, 0, 0))
    document = {"schema": SCHEMA, "runs": [{"operator_costs": None}, {"operator_costs": board.to_dict()}, {}]}
    (tmp_path / "board.json").write_text(json.dumps(document))
    there = convert(model, tmp_path / "there", calibration=faces, mixed=True, costs=tmp_path / "board.json")
    here = convert(model, tmp_path / "here", calibration=faces, mixed=True)
    noise = {}
    for bundle in (there, here):
        solution = bundle.manifest["solution"]
        (chosen,) = (point for point in solution["points"] if point["chosen"])
        noise[solution["costs_of"]] = chosen["sqnr_db"]
    assert noise["a board"] > noise[LITERT_X86.machine] + 3


@pytest.mark.parametrize("models", [[], [LITERT_X86.to_dict()] * 2])
def test_costs_are_of_one_board(model, faces, out, tmp_path, models):
    document = {"schema": SCHEMA, "runs": [{"operator_costs": costs} for costs in models]}
    (tmp_path / "boards.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="holds the costs of operators of") as caught:
        convert(model, out, calibration=faces, mixed=True, costs=tmp_path / "boards.json")
    assert "--operator-costs" in caught.value.remedy
    assert not out.exists()


def test_where_to_be_fast_is_said_once_and_by_a_known_name(model, faces, out):
    with pytest.raises(UsageError, match="both a target and the costs"):
        convert(model, out, calibration=faces, target="pi5", costs="board.json")
    with pytest.raises(UsageError, match="targets are pi4, pi5, android, x86; got pi9"):
        convert(model, out, calibration=faces, target="pi9")
    assert not out.exists()


def test_a_budget_that_cannot_be_kept_is_told_with_the_size_that_could(model, faces, out):
    bundle, notes = convert_and_listen(model, out, calibration=faces, formats=["onnx"], budget=1000)
    (note,) = (note for note in notes if "no way of storing this network keeps a budget of 1,000 bytes" in note)
    smallest = int(note.partition("about ")[2].partition(";")[0].replace(",", ""))
    assert smallest == pytest.approx(bundle.artifact("onnx").stat().st_size, rel=0.05)


def test_four_bits_are_taken_where_the_budget_demands_them(model, faces, tmp_path):
    plain = convert(model, tmp_path / "plain", calibration=faces, formats=["tflite"])
    assert "solution" not in plain.manifest
    small = convert(model, tmp_path / "small", calibration=faces, formats=["tflite"], budget=1)
    full, point = small.manifest["solution"]["points"]
    sizes = [bundle.artifact("tflite").stat().st_size for bundle in (plain, small)]
    assert point["int4"] and not full["int4"]
    assert (full["chosen"], point["chosen"]) == (False, True)
    assert point["bytes"] == sizes[1] < sizes[0] == full["bytes"]
    assert small.manifest["solution"]["bytes_over"] == point["bytes"] - 1
    assert "in int4" in small.manifest["quantization"]["scheme"]
