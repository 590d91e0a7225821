"""Networks that look at more than one image: states that are carried on, and clips."""

import json

import numpy as np
import pytest
from PIL import Image

import edgefer
from edgefer.errors import InputError, UsageError
from edgefer.evaluation.inspection import inspect
from edgefer.runtime.runners import open_runner
from edgefer.timeline.run import RunOptions, run

torch = pytest.importorskip("torch")

from tests.conversion.recurrent import SPEC, CnnLstm, planes, save_sequences, sequences  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's exporter has much to tell

CLIP = {**SPEC, "input": {**SPEC["input"], "frames": 4}}
STATES = [{"name": name, "input": name, "output": f"{name}n", "shape": [1, 1, 10]} for name in ("h", "c")]
FORMATS = ("tflite", "onnx")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return save_sequences(tmp_path_factory.mktemp("faces") / "faces.npz", sequences())


@pytest.fixture(scope="module")
def step(tmp_path_factory, faces):
    """The bundle of a CNN-LSTM of two layers, from its state dict."""
    folder = tmp_path_factory.mktemp("step")
    torch.save(CnnLstm(2).state_dict(), folder / "net.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        return edgefer.convert(folder / "net.pt", folder / "bundle", spec=SPEC, calibration=faces)


def export(folder, network, spec, **options):
    """The step as an ONNX file, with its Spec beside it."""
    h = torch.zeros(network.lstm.num_layers, 1, 10)
    names = {"input_names": ["x", "h", "c"], "output_names": ["y", "hn", "cn"], "dynamo": False, **options}
    torch.onnx.export(network, (torch.zeros(1, 3, 16, 16), h, h), folder / "net.onnx", **names)
    return folder / "net.onnx"


def said(runner, frames):
    runner.reset()
    return np.stack([runner(frame)["expression"] for frame in frames])


def test_states_are_carried_on_as_pytorch_does(step):
    frames = sequences(2, 20, seed=5)
    exact = open_runner(step.artifact("onnx", "float32"), "onnx", spec=step.spec)
    int8 = [open_runner(step.artifact(format), format, spec=step.spec) for format in FORMATS]
    for sequence in frames:
        expected = CnnLstm(2).expected(sequence)
        np.testing.assert_allclose(said(exact, sequence), expected, atol=1e-4)
        found = [said(runner, sequence) for runner in int8]
        np.testing.assert_allclose(*found, atol=1e-3)
        assert np.abs(found[0] - expected).max() < 0.1
        alone = np.stack([CnnLstm(2).expected(frame[np.newaxis])[0] for frame in sequence])
        assert np.abs(alone - expected).max() > 3 * np.abs(found[0] - expected).max()  # it does remember


def test_artifacts_name_their_states_and_what_carries_them_on_computes_in_float(step):
    assert [state.fed for state in step.spec.states] == ["hidden_in", "cell_in", "hidden1_in", "cell1_in"]
    manifest = json.loads((step.path / "manifest.json").read_text())
    assert [state["name"] for state in manifest["states"]] == ["hidden", "cell", "hidden1", "cell1"]
    plan = step.plan
    assert not any(name.endswith(("_in", "_out")) for name in plan.tensors)
    assert "int8" in plan.nodes.values() and "float" in plan.nodes.values()


def test_evaluation_goes_through_each_sequence(step, faces):
    found = edgefer.evaluate(step, faces)
    frames = sequences()
    runner = open_runner(step.artifact("tflite"), "tflite", spec=step.spec)
    expected = np.concatenate([said(runner, sequence) for sequence in frames])
    np.testing.assert_array_equal(found.outputs.values["tflite"]["expression"], expected)
    assert found.layers is not None and found.layers.rebuilt == {"onnx": True, "tflite": True}
    assert len(edgefer.evaluate(step, faces, samples=20, layer_images=0).outputs) == 16  # two whole sequences


def test_a_loaded_model_is_reset_and_goes_on_where_another_was(step):
    model, (first, second) = edgefer.load(step.path), sequences(2, 4, seed=6)
    answers = [model(frame)["expression"].as_dict() for frame in first]
    kept = model.states
    went_on = model(second[0])["expression"].as_dict()
    model.reset()
    assert model(first[0])["expression"].as_dict() == answers[0] != model(first[0])["expression"].as_dict()
    model.reset(kept)
    assert model(second[0])["expression"].as_dict() == went_on
    for states, message in (
        (
            {"hidden": np.zeros((1, 10), np.float32)},
            r"state 'hidden' is float32 \(1, 1, 10\); this is float32 \(1, 10\)",
        ),
        ({"memory": kept["cell"]}, "carries no state 'memory', but hidden, cell"),
        ({"cell": np.full((1, 1, 10), np.nan, np.float32)}, "state 'cell' holds numbers that are not finite"),
    ):
        with pytest.raises(InputError, match=message):
            model.reset(states)


def test_each_face_of_a_video_carries_a_state_of_its_own(step, tmp_path):
    first, second = sequences(2, 9, seed=11).repeat(2, 2).repeat(2, 3)
    (tmp_path / "pictures").mkdir()
    boxes = ["frame,x,y,w,h"]
    for index in range(9):
        picture = np.full((48, 96, 3), 90, np.uint8)
        picture[8:40, 8:40], picture[12:44, 60:92] = first[index], second[index]
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{index}.png")
        boxes += [f"{index},8,8,32,32"] + [f"{index},60,12,32,32"] * (index > 2)
    (tmp_path / "boxes.csv").write_text("\n".join(boxes))
    found = run(step, [tmp_path / "pictures"], options=RunOptions(boxes=tmp_path / "boxes.csv", fps=10))
    tracks = found.timelines[0].observed.tracks
    assert [len(track.frames) for track in tracks] == [9, 6]
    for track, faces in zip(tracks, (first, second[3:]), strict=True):
        model = edgefer.load(step.path)
        expected = [[*model(face)["expression"].as_dict().values()] for face in faces]
        np.testing.assert_allclose(track.heads["expression"], expected, atol=1e-5)


def test_an_exported_step_is_read_with_its_states_and_what_they_begin_with(tmp_path, faces):
    network = CnnLstm()
    path = export(tmp_path, network, SPEC)
    began = [{**state, "initial": 0.5} for state in STATES]
    bundle = edgefer.convert(path, tmp_path / "bundle", spec={**SPEC, "states": began}, calibration=faces)
    runner = open_runner(bundle.artifact("onnx", "float32"), "onnx", spec=bundle.spec)
    (frames,) = sequences(1, 3, seed=7)
    h = c = torch.full((1, 1, 10), 0.5)
    for frame in frames:
        with torch.no_grad():
            y, h, c = network(planes(frame[np.newaxis]), h, c)
        np.testing.assert_allclose(runner(frame)["expression"], y.softmax(1)[0].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([], r"outputs depend on 3 inputs \(x .* h \[1, 1, 10\], c \[1, 1, 10\]\)"),
        (STATES[:1], "outputs depend on 3 inputs"),
        (
            [{**STATES[0], "shape": [1, 1, 12]}, STATES[1]],
            r"state 'h' is float32 \[1, 1, 12\] in the Spec, .* \[1, 1, 10\]",
        ),
        ([{**STATES[0], "output": "other"}, STATES[1]], "state 'h': the network returns no 'other', but y, hn, cn"),
    ],
)
def test_states_that_the_file_does_not_have_are_named(tmp_path, faces, states, message):
    path = export(tmp_path, CnnLstm(), SPEC)
    with pytest.raises(InputError, match=message) as refused:
        edgefer.convert(path, tmp_path / "bundle", spec={**SPEC, "states": states}, calibration=faces)
    assert "[[states]]" in refused.value.remedy
    assert not (tmp_path / "bundle").exists()


def test_a_spec_that_leaves_out_states_of_a_checkpoint_is_refused(tmp_path, faces):
    torch.save(CnnLstm().state_dict(), tmp_path / "net.pt")
    states = [{"name": "hidden", "input": "hidden_before", "output": "hidden_after", "shape": [1, 1, 10]}]
    with pytest.raises(InputError, match="needs one image input, and 1 that take states") as refused:
        edgefer.convert(tmp_path / "net.pt", tmp_path / "b", spec={**SPEC, "states": states}, calibration=faces)
    assert "needs none" in refused.value.remedy


def test_parts_may_compute_in_float_for_a_bound_on_the_drop(tmp_path, faces):
    torch.save(CnnLstm().state_dict(), tmp_path / "net.pt")
    mixed = {"max_drop": 0.0, "mixed": True}
    bundle = edgefer.convert(tmp_path / "net.pt", tmp_path / "bundle", spec=SPEC, calibration=faces, **mixed)
    assert len(bundle.manifest["solution"]["points"]) > 1
    (frames,) = sequences(1, 20, seed=5)
    for format in FORMATS:
        runner = open_runner(bundle.artifact(format), format, spec=bundle.spec)
        np.testing.assert_allclose(said(runner, frames), CnnLstm().expected(frames), atol=0.1)


@pytest.mark.parametrize("asked", [{"shrink": True, "budget": 1}, {"tflite_backend": "onnx2tf"}])
def test_what_is_for_single_images_is_refused(tmp_path, faces, asked, monkeypatch):
    monkeypatch.setattr("edgefer.host.environments.Environment.require", lambda self: None)
    torch.save(CnnLstm().state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"net looks at more than one image, which .* cannot"):
        edgefer.convert(tmp_path / "net.pt", tmp_path / "bundle", spec=SPEC, calibration=faces, **asked)


def test_stills_and_images_of_the_network_itself_are_no_sequences(tmp_path):
    torch.save(CnnLstm().state_dict(), tmp_path / "net.pt")
    np.savez(tmp_path / "stills.npz", images=sequences()[:, 0])
    with pytest.raises(InputError, match="nothing says which of its images follow each other"):
        edgefer.convert(tmp_path / "net.pt", tmp_path / "b", spec=SPEC, calibration=tmp_path / "stills.npz")
    with pytest.raises(UsageError, match="looks at sequences"):
        edgefer.convert(tmp_path / "net.pt", tmp_path / "b", spec=SPEC, calibration="synthetic")
    one = save_sequences(tmp_path / "one.npz", sequences(1))
    with pytest.raises(InputError, match="one sequence is too few"):
        edgefer.convert(tmp_path / "net.pt", tmp_path / "b", spec=SPEC, calibration=one)


def test_a_bidirectional_network_reads_clips(tmp_path, faces):
    network = CnnLstm(bidirectional=True)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    with pytest.raises(InputError, match="is bidirectional, and reads a whole clip") as refused:
        edgefer.convert(tmp_path / "net.pt", tmp_path / "bundle", spec=SPEC, calibration=faces)
    assert "frames = 16" in refused.value.remedy
    bundle = edgefer.convert(tmp_path / "net.pt", tmp_path / "bundle", spec=CLIP, calibration=faces)
    clips = sequences(6, 4, seed=8)
    with torch.no_grad():
        expected = np.stack([network.clip(planes(clip)[None]).softmax(1)[0].numpy() for clip in clips])
    exact = open_runner(bundle.artifact("onnx", "float32"), "onnx", spec=bundle.spec)
    np.testing.assert_allclose([exact(clip)["expression"] for clip in clips], expected, atol=1e-4)
    for format in FORMATS:
        model = edgefer.load(bundle.path, format)
        found = [[*model(clip)["expression"].as_dict().values()] for clip in clips]
        np.testing.assert_allclose(found, expected, atol=0.1)
        model.reset()
        shown = [[*model(frame)["expression"].as_dict().values()] for frame in clips[0]]
        np.testing.assert_array_equal(shown[-1], found[0])
    assert len(edgefer.evaluate(bundle, faces, layer_images=0).outputs) == 24  # two clips of four frames each
    layers = inspect(bundle, faces).layers
    assert layers is not None and (layers.images, layers.rebuilt) == (24, {"onnx": True, "tflite": True})
    short = save_sequences(tmp_path / "short.npz", sequences(5, 3))
    with pytest.raises(InputError, match="has 3 frames, and the network reads clips of 4"):
        edgefer.evaluate(bundle, short)
    with pytest.raises(InputError, match=r"a clip is uint8 \(4, H, W, 3\) RGB; this is uint8 \(3, 16, 16, 3\)"):
        model(clips[0][:3])
