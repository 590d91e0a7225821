import dataclasses
import io
import shutil
import zipfile

import cv2
import numpy as np
import pytest

import edgefer
from edgefer.errors import InputError
from edgefer.evaluation import evaluate, shards
from edgefer.execution import Store
from edgefer.host.directories import cache_directory
from edgefer.host.progress import Silent
from edgefer.images import open_images
from edgefer.runtime.model import load
from tests.evaluation.tiny import EXPRESSIONS, faces

LABELS = np.arange(60) % 4
NAMES = np.array(EXPRESSIONS)


class Recorder(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def stored_shards():
    return sorted(path for path in (cache_directory() / "results").rglob("*") if path.is_file())


def test_every_model_is_run_on_every_image_as_load_runs_it(tiny, save):
    data = save(5)
    evaluation = edgefer.evaluate(tiny, data, workers=2)
    for format in ("tflite", "onnx"):
        model = load(tiny.path, format)
        for index, image in enumerate(faces(5)):
            for head, result in model(image).items():
                assert np.array_equal(evaluation.outputs.values[format][head][index], result.values)


def test_workers_and_shard_size_change_nothing(tiny, save, monkeypatch):
    data = save(labels=LABELS, label_names=NAMES)
    one = edgefer.evaluate(tiny, data, workers=1)
    monkeypatch.setattr(shards, "SHARD", 7)
    assert edgefer.evaluate(tiny, data, workers=3).to_dict() == one.to_dict()


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tiny, save, monkeypatch):
    data = save(labels=LABELS, label_names=NAMES)
    expected = edgefer.evaluate(tiny, data)
    monkeypatch.setattr(shards, "SHARD", 10)
    read = type(open_images(data)).read
    seen = []

    def interrupted(images, index):
        if len(seen) == 35:
            raise KeyboardInterrupt
        seen.append(index)
        return read(images, index)

    monkeypatch.setattr("edgefer.images.ImageSet.read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        edgefer.evaluate(tiny, data, workers=1, layer_images=0)
    assert len(stored_shards()) == 3
    monkeypatch.setattr("edgefer.images.ImageSet.read", lambda images, index: seen.append(index) or read(images, index))
    seen.clear()
    recorder = Recorder()
    evaluation = edgefer.evaluate(tiny, data, workers=1, layer_images=0, progress=recorder)
    assert seen == [*range(10)] * 3  # of the three shards that are left
    assert "30 of 60 images were done" in recorder.notes[0]
    assert evaluation.to_dict() | {"layers": None} == expected.to_dict() | {"layers": None}
    assert stored_shards() == []


@pytest.mark.parametrize("damage", [b"", b"no result"])
def test_a_damaged_shard_is_computed_again(tiny, save, monkeypatch, damage):
    data = save(labels=LABELS, label_names=NAMES)
    monkeypatch.setattr(Store, "clear", lambda store: None)
    expected = edgefer.evaluate(tiny, data).to_dict()
    (entry,) = stored_shards()
    entry.write_bytes(damage)
    assert edgefer.evaluate(tiny, data).to_dict() == expected


def test_a_cache_that_cannot_be_written_is_no_error(tiny, save, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEFER_HOME", str(tmp_path / "file"))
    assert edgefer.evaluate(tiny, save(5)).all.samples == 5


def test_shards_of_another_bundle_or_of_other_images_are_not_taken(tiny, save):
    images = open_images(save(5))
    models = {artifact.format: artifact for artifact in tiny.artifacts}
    altered = {name: dataclasses.replace(artifact, sha256="0" * 64) for name, artifact in models.items()}
    keys = {
        evaluate._key(models, tiny, images),
        evaluate._key(altered, tiny, images),
        evaluate._key(models, tiny, images.select([0])),
    }
    assert len(keys) == 3


def test_without_labels_everything_that_needs_none_is_there(tiny, save):
    evaluation = edgefer.evaluate(tiny, save())
    document = evaluation.to_dict()
    assert document["labelled"] == 0
    assert document["reference"] == {}
    artifact = document["artifacts"]["tflite"]
    assert {"agreement", "flips_per_class", "kl", "max_abs_probability_change", "sqnr_db"} <= artifact.keys()
    assert "accuracy_drop" not in artifact
    assert document["cross_runtime"]["agreement"] is not None
    assert evaluation.labels is None
    assert evaluation.verdict.held is True


def test_one_image_gets_numbers_but_no_interval_and_no_verdict(tiny, save):
    evaluation = edgefer.evaluate(tiny, save(1, labels=LABELS[:1], label_names=NAMES))
    drift = evaluation.all.main.artifacts["tflite"].drift
    assert drift.accuracy_drop.ci95 is None
    assert drift.agreement.ci95 is None
    assert drift.kl.ci95 is None
    assert evaluation.verdict.held is None
    reasons = {bound.reason for bound in evaluation.verdict.bounds if bound.held is None}
    assert reasons == {"1 labelled images are too few: one is 1e+02 points"}


def test_classes_are_matched_by_name_and_strangers_left_out(tiny, save):
    names = np.array(["Sadness", "contempt", "happiness", "anger"])
    recorder = Recorder()
    evaluation = edgefer.evaluate(tiny, save(labels=LABELS, label_names=names), progress=recorder)
    by_name = np.array([EXPRESSIONS.index("sad"), -1, EXPRESSIONS.index("happy"), EXPRESSIONS.index("angry")])
    assert np.array_equal(evaluation.labels, by_name[LABELS])
    assert evaluation.all.main.labelled == 45
    assert evaluation.data.unmatched_classes == ("contempt",)
    assert evaluation.data.left_out == 15
    assert evaluation.data.missing_classes == ("neutral",)
    assert any("contempt" in note and "15 images" in note for note in recorder.notes)
    assert evaluation.all.main.reference.classes.recall_per_class["neutral"] is None


def test_a_set_that_shares_no_class_is_refused(tiny, save):
    with pytest.raises(InputError, match=r"none of its classes \(cat, dog\)"):
        edgefer.evaluate(tiny, save(4, labels=np.array([0, 1, 0, 1]), label_names=np.array(["cat", "dog"])))


def test_images_of_other_sizes_and_colour_modes_are_evaluated(tiny, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in {
            "angry/gray.png": (7, 9),
            "happy/rgba.png": (40, 30, 4),
            "sad/rgb.jpg": (300, 200, 3),
        }.items():
            image = rng.integers(0, 256, shape).astype(np.uint8)
            archive.writestr(name, cv2.imencode(f".{name[-3:]}", image)[1].tobytes())
        sixteen = rng.integers(0, 65536, (20, 20)).astype(np.uint16)
        archive.writestr("sad/sixteen.png", cv2.imencode(".png", sixteen)[1].tobytes())
        archive.writestr("sad/broken.png", b"\x89PNG\r\n\x1a\n")
    evaluation = edgefer.evaluate(tiny, path)
    assert evaluation.outputs.names == ("angry/gray.png", "happy/rgba.png", "sad/rgb.jpg", "sad/sixteen.png")
    assert evaluation.data.skipped == 1
    assert evaluation.all.main.labelled == 4


def test_an_altered_bundle_is_refused(tiny, save, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "altered")
    artifact = tmp_path / "altered" / "tiny_int8.tflite"
    data = bytearray(artifact.read_bytes())
    data[-1] ^= 1
    artifact.write_bytes(data)
    with pytest.raises(InputError, match="altered since it was made"):
        edgefer.evaluate(tmp_path / "altered", save(2))


def test_samples_are_spread_over_the_set(tiny, save):
    assert edgefer.evaluate(tiny, save(), samples=4).outputs.names == ("7", "22", "37", "52")
    assert edgefer.evaluate(tiny, save(), samples=99).all.samples == 60


def test_masks_are_subsets_with_the_same_metrics(tiny, save):
    clean = LABELS > 1
    evaluation = edgefer.evaluate(tiny, save(labels=LABELS, label_names=NAMES, clean=clean, none=np.zeros(60, bool)))
    everything, subset = evaluation.parts
    assert (everything.name, everything.samples, subset.name, subset.samples) == ("all", 60, "clean", 30)
    alone = edgefer.evaluate(tiny, open_images(save(labels=LABELS, label_names=NAMES)).select(np.flatnonzero(clean)))
    assert subset.main == alone.all.main
    assert evaluation.data.notes == ("subset none holds no image",)


def test_targets_of_all_heads_give_their_metrics(tiny, save):
    rng = np.random.default_rng(5)
    valence, arousal = rng.uniform(-1, 1, (2, 60))
    valence[:3], arousal[3:5], valence[5] = np.nan, -5, 7
    units = rng.integers(0, 2, (60, 3))
    recorder = Recorder()
    evaluation = edgefer.evaluate(
        tiny,
        save(valence=valence, arousal=arousal, au=units, au_columns=np.array(["au_25", "au_1", "au_12"])),
        progress=recorder,
    )
    _, affect, aus = evaluation.all.heads
    known = np.ones(60, bool)
    known[[0, 1, 2, 5]] = False
    found = evaluation.outputs.values["tflite"]["affect"][:, 0]
    x, y = valence[known], found[known].astype(np.float64)
    ccc = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert affect.artifacts["tflite"].metrics.values.ccc["valence"] == pytest.approx(ccc)
    assert affect.artifacts["tflite"].metrics.values.samples == {"valence": 56, "arousal": 58}
    assert any("3 of 60 images have no target; 1 outside [-1, 1]" in note for note in recorder.notes)
    assert affect.artifacts["tflite"].drift.ccc_drop.ci95 is not None
    active = evaluation.outputs.values["onnx"]["units"] >= np.array([0.5, 0.4, 0.6])
    expected = units[:, [1, 2, 0]].astype(bool)
    f1 = 2 * (active & expected).sum(axis=0) / (active.sum(axis=0) + expected.sum(axis=0))
    result = aus.artifacts["onnx"]
    assert list(result.metrics.units.f1.values()) == pytest.approx(f1)
    lost = aus.reference.units.mean_f1 - result.metrics.units.mean_f1
    assert result.drift.f1_drop.value == pytest.approx(lost)
    assert evaluation.to_dict()["heads"]["units"]["artifacts"]["onnx"]["mean_f1"] == pytest.approx(f1.mean())


def test_the_images_that_changed_most_come_first(tiny, save):
    evaluation = edgefer.evaluate(tiny, save(), layer_images=0)
    outputs = {model: heads["expression"] for model, heads in evaluation.outputs.values.items()}
    change = np.maximum(*(np.abs(outputs[f] - outputs["reference"]).sum(axis=1) for f in ("onnx", "tflite")))
    assert list(evaluation.most_changed(60)) == list(np.argsort(-change, kind="stable"))
    assert len(evaluation.most_changed()) == 20


def test_threads_end_when_a_runtime_refuses_a_model(tiny, save, monkeypatch):
    def refuse(*_):
        raise InputError("ONNX Runtime refuses the model")

    monkeypatch.setattr(shards, "open_runner", refuse)
    with pytest.raises(InputError, match="refuses the model"):
        edgefer.evaluate(tiny, save(), workers=2)


def test_bytes_are_not_mistaken_for_an_image_set(tiny, tmp_path):
    path = tmp_path / "faces.npz"
    path.write_bytes(io.BytesIO(b"PK\x05\x06" + b"\0" * 18).getvalue())
    with pytest.raises(InputError):
        edgefer.evaluate(tiny, path)
