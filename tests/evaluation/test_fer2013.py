"""The numbers on 3,589 labelled faces, against a few lines of numpy."""

import json

import jsonschema
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import onnx_session, tflite_interpreter
from tests.evaluation.schema import evaluation_schema

HAPPY = 3  # in FER2013's order, which is the network's
FERPLUS = {"anger": 0, "disgust": 1, "fear": 2, "happiness": 3, "sadness": 4, "surprise": 5, "neutral": 6}


@pytest.fixture(scope="module")
def data(shared):
    return dict(np.load(shared / "data" / "fer2013_public.npz"))


@pytest.fixture(scope="module")
def p(fer2013):
    """Probabilities of the three models, (3589, 7)."""
    return {model: heads["expression"].astype(np.float64) for model, heads in fer2013.outputs.values.items()}


@pytest.fixture(params=["all", "clean"])
def part(request, fer2013, data):
    """A part of the evaluation, and which images it is about."""
    chosen = data["clean"] if request.param == "clean" else np.ones(3589, bool)
    return next(part for part in fer2013.parts if part.name == request.param), chosen


def test_outputs_are_those_of_the_files_run_one_by_one(fer2013, fer_b0, data):
    reference, onnx = (onnx_session(fer_b0.path / f"fer_b0_{kind}.onnx") for kind in ("fp32", "int8"))
    tflite = tflite_interpreter(fer_b0.path / "fer_b0_int8.tflite")
    for index in range(0, 3589, 101):
        image = np.repeat(data["images"][index][:, :, None], 3, axis=2)
        pixels = to_pixels(image, fer_b0.spec.input)[None]
        tflite.set_tensor(tflite.get_input_details()[0]["index"], pixels)
        tflite.invoke()
        found = {
            "reference": reference.run(None, {"image": pixels})[0],
            "onnx": onnx.run(None, {"image": pixels})[0],
            "tflite": tflite.get_tensor(tflite.get_output_details()[0]["index"]),
        }
        for model, values in found.items():
            assert values[0] == pytest.approx(fer2013.outputs.values[model]["expression"][index], abs=1e-6)


def test_the_float_network_is_as_good_as_its_makers_say(fer2013):
    accuracy = [part.main.reference.classes.accuracy for part in fer2013.parts]
    assert accuracy == pytest.approx([0.628, 0.615], abs=0.003)


def test_accuracy_drop_and_agreement_equal_numpy_and_scipy(part, p, data):
    part, chosen = part
    labels = data["labels"][chosen]
    fp32 = p["reference"][chosen].argmax(1)
    assert part.samples == part.main.labelled == chosen.sum()
    assert part.main.reference.classes.accuracy == np.mean(fp32 == labels)
    for format in ("onnx", "tflite"):
        result, int8 = part.main.artifacts[format], p[format][chosen].argmax(1)
        assert result.metrics.classes.accuracy == np.mean(int8 == labels)
        lost, gained = np.sum((fp32 == labels) & (int8 != labels)), np.sum((fp32 != labels) & (int8 == labels))
        drop = result.drift.accuracy_drop
        assert (drop.lost, drop.gained) == (lost, gained)
        assert drop.points == pytest.approx(100 * (np.mean(fp32 == labels) - np.mean(int8 == labels)))
        assert drop.p_value == pytest.approx(stats.binomtest(lost, lost + gained).pvalue)
        differences = 100.0 * (fp32 == labels) - 100.0 * (int8 == labels)
        interval = stats.bootstrap((differences,), np.mean, n_resamples=2000, batch=200, rng=1).confidence_interval
        assert drop.ci95 == pytest.approx(tuple(interval), abs=0.2)
        assert result.drift.agreement.value == np.mean(fp32 == int8)
        flips = np.zeros((7, 7), int)
        np.add.at(flips, (fp32, int8), fp32 != int8)
        assert np.array_equal(result.drift.flips, flips)


def test_the_other_metrics_equal_numpy_and_scikit_learn(part, p, data):
    part, chosen = part
    labels, fp32 = data["labels"][chosen], p["reference"][chosen]
    for format in ("onnx", "tflite"):
        result, int8 = part.main.artifacts[format], p[format][chosen]
        top = int8.argmax(1)
        classes, drift = result.metrics.classes, result.drift
        assert classes.macro_f1 == pytest.approx(f1_score(labels, top, average="macro"))
        assert list(classes.recall_per_class.values()) == pytest.approx(
            [np.mean(top[labels == k] == k) for k in range(7)]
        )
        assert drift.kl.value == pytest.approx(np.mean(np.sum(fp32 * np.log(fp32 / int8), axis=1)), rel=1e-6)
        assert drift.max_abs_change == pytest.approx(np.abs(fp32 - int8).max())
        a, b = (np.log(q) - np.log(q).mean(axis=1, keepdims=True) for q in (fp32, int8))
        assert drift.sqnr_db == pytest.approx(10 * np.log10(np.sum(a**2) / np.sum((a - b) ** 2)))
        smile = classes.smile
        assert smile.recall == np.mean(int8[labels == HAPPY, HAPPY] >= 0.5)
        assert smile.false_positive_rate == np.mean(int8[labels != HAPPY, HAPPY] >= 0.5)
        assert smile.roc_auc == pytest.approx(roc_auc_score(labels == HAPPY, int8[:, HAPPY]))
        rank = stats.spearmanr(fp32[:, HAPPY], int8[:, HAPPY]).statistic
        assert drift.smile_rank_correlation == pytest.approx(rank)
    cross = part.main.cross_runtime
    onnx, tflite = p["onnx"][chosen], p["tflite"][chosen]
    assert cross.agreement.value == np.mean(onnx.argmax(1) == tflite.argmax(1))
    assert cross.max_abs_difference == pytest.approx(np.abs(onnx - tflite).max())


def test_votes_of_ferplus_equal_numpy(fer2013, p, data):
    votes = np.zeros((3589, 7))
    other = []
    for column, name in enumerate(data["ferplus_columns"]):
        if name in FERPLUS:
            votes[:, FERPLUS[name]] = data["ferplus_votes"][:, column]
        else:
            other.append(data["ferplus_votes"][:, column])
    most = votes.max(axis=1)
    is_decided = ((votes == most[:, None]).sum(axis=1) == 1) & (most > np.max(other, axis=0))
    is_voted = votes.sum(axis=1) > 0
    shares = votes[is_voted] / votes[is_voted].sum(axis=1, keepdims=True)
    for format in ("onnx", "tflite"):
        soft = fer2013.all.main.artifacts[format].metrics.soft
        q = p[format]
        assert (soft.samples, soft.majority_samples) == (is_voted.sum(), is_decided.sum())
        assert soft.majority_accuracy == np.mean(q[is_decided].argmax(1) == votes[is_decided].argmax(1))
        assert soft.cross_entropy == pytest.approx(-np.mean(np.sum(shares * np.log(q[is_voted]), axis=1)))
        assert soft.kl == pytest.approx(np.mean(stats.entropy(shares, q[is_voted], axis=1)), rel=1e-6)


def test_the_document_has_the_schema_it_names(fer2013):
    document = json.loads(json.dumps(fer2013.to_dict(), allow_nan=False))
    jsonschema.validate(document, evaluation_schema())
    assert document["samples"] == document["labelled"] == 3589
    assert set(document["subsets"]) == {"clean"}
