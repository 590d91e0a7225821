import base64
import dataclasses
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest

from edgefer.evaluation.judge import judge
from edgefer.evaluation.results import (
    Bound,
    BundleIdentity,
    DataIdentity,
    Evaluation,
    LayerDrift,
    LayerView,
    Outputs,
    Verdict,
)
from edgefer.evaluation.targets import HeadTargets, Targets
from edgefer.images import ImageSet
from edgefer.report import evaluation_report
from edgefer.spec import Spec
from tests.report.document import MANIFEST, Document

SIZE = tuple(Bound("size", format, 8_000_000, 4_900_000, True) for format in ("tflite", "onnx"))
EXPRESSION = {"name": "expression", "kind": "expression", "labels": ["angry", "happy", "sad"], "activation": "softmax"}
AFFECT = {"name": "affect", "kind": "valence_arousal", "labels": ["valence", "arousal"], "activation": "tanh"}
UNITS = {"name": "units", "kind": "action_units", "labels": ["AU1", "AU12"], "activation": "sigmoid"}
LAYERS = LayerView(
    16,
    (
        LayerDrift("stem", "stem", "Conv", {"onnx": 30.0, "tflite": 30.0}, 0.0, 0, 0.0, 0),
        LayerDrift("<act>", "act", "Mul", {"onnx": 9.5, "tflite": 9.0}, 0.1, 1, 0.05, 1),
    ),
    {"onnx": True, "tflite": True},
)


def softmax(logits):
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def evaluation(heads=(EXPRESSION,), count=120, labelled=True, **changes):
    """What `evaluate` returns, from random outputs."""
    rng = np.random.default_rng(0)
    targets, values = {}, {model: {} for model in ("reference", "tflite", "onnx")}
    for head in heads:
        width = len(head["labels"])
        exact = rng.normal(size=(count, width)) * 2
        activation = {"softmax": softmax, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}[
            head["activation"]
        ]
        for model, noise in (("reference", 0), ("tflite", 0.4), ("onnx", 0.5)):
            values[model][head["name"]] = activation(exact + noise * rng.normal(size=exact.shape)).astype(np.float32)
        truth = np.tanh(exact) if head is AFFECT else (exact > 0).astype(float)
        targets[head["name"]] = HeadTargets()
        if labelled:
            is_class = head["activation"] == "softmax"
            targets[head["name"]] = HeadTargets(
                classes=exact.argmax(axis=1) if is_class else None, values=None if is_class else truth
            )
    outputs = Outputs(tuple(f"face {index}.png" for index in range(count)), values)
    masks = {"clean": np.arange(count) % 2 == 0} if count > 1 else {}
    spec = Spec.from_dict({"input": MANIFEST["input"], "outputs": list(heads)})
    parts = judge(outputs, Targets(targets, masks), spec)
    bounds = [
        Bound("accuracy_drop", format, 0.5, result.drift.accuracy_drop.points, False)
        for format, result in parts[0].main.artifacts.items()
        if result.drift.accuracy_drop
    ]
    found = Evaluation(
        bundle=BundleIdentity("faces", "0.1.0", "b" * 64, {}),
        data=DataIdentity("faces.npz", "a" * 64),
        parts=parts,
        verdict=Verdict((*SIZE, *bounds)),
        layers=LAYERS,
        outputs=outputs,
        labels=targets[parts[0].main.name].classes,
        versions={"edgefer": "0.1.0", "numpy": "2.4.6"},
    )
    return dataclasses.replace(found, **changes)


def report(found, heads=(EXPRESSION,), images=None):
    return evaluation_report({**MANIFEST, "outputs": list(heads)}, found, images)


def headings(document):
    return re.findall(r"<h2>(.*?)</h2>", document)


def test_a_labelled_set_fills_every_section():
    assert headings(report(evaluation())) == [
        "Size",
        "Drift from the float network",
        "Recall per class",
        "Changed answers",
        "Confusion",
        "Is confidence worth what it says?",
        "Along the network",
        "TFLite against ONNX",
        "Images that changed most",
        "All numbers",
        "Evidence",
        "Calibration",
        "Quantization",
        "Provenance",
    ]


def test_the_headline_counts_broken_bounds_and_states_the_interval():
    found = evaluation()
    drop = found.all.main.artifacts["tflite"].drift.accuracy_drop
    text = Document(report(found)).text
    assert "2 of 4 bounds do not hold." in text
    low, high = drop.ci95
    assert f"drops by {drop.points:.2f} points (95 % interval of the drop {low:.2f} to {high:.2f})" in text
    assert "the bound is 0.5" in text


def test_a_drop_that_the_data_cannot_tell_from_the_bound_says_so():
    found = evaluation()
    drop = found.all.main.artifacts["tflite"].drift.accuracy_drop
    bounds = tuple(Bound("accuracy_drop", "tflite", limit, drop.points, False) for limit in (drop.points - 0.1, -50))
    inside, outside = (Document(report(dataclasses.replace(found, verdict=Verdict((b,))))).text for b in bounds)
    assert "other images could decide otherwise" in inside
    assert "other images could decide otherwise" not in outside


def test_too_few_images_leave_the_verdict_open():
    bound = Bound("accuracy_drop", "tflite", 0.5, 0.0, None, "12 labelled images are too few: one is 8.3 points")
    text = Document(report(evaluation(verdict=Verdict((*SIZE, bound))))).text
    assert "The evidence is too small to judge every bound." in text
    assert "12 labelled images are too few" in text


def test_without_labels_what_needs_labels_is_left_out():
    document = report(evaluation(labelled=False))
    left_out = {"Recall per class", "Confusion", "Is confidence worth what it says?"}
    assert not left_out & set(headings(document))
    assert {"Changed answers", "Drift from the float network"} <= set(headings(document))
    text = Document(document).text
    assert "The budget holds; accuracy was not judged." in text
    assert "120 images, none labelled" in text
    assert "Accuracy lost" not in text


def test_one_image_has_no_interval():
    text = Document(report(evaluation(count=1))).text
    assert "95 % interval of the drop" not in text
    assert "On faces.npz: 1 image, all labelled" in text


def test_without_a_view_of_the_layers_its_section_is_left_out():
    assert "Along the network" not in headings(report(evaluation(layers=None)))


def test_the_lowest_tensors_are_named_in_order():
    text = Document(report(evaluation())).text
    assert "1. <act> Mul 9.0 9.5 2. stem Conv 30.0 30.0" in text


def test_tensors_that_are_equal_in_both_files_are_drawn_once():
    layers = dataclasses.replace(LAYERS, layers=LAYERS.layers[:1])
    document = report(evaluation(layers=layers))
    assert document.count("stem: 30.0 dB") == 1
    assert report(evaluation()).count("stem: 30.0 dB") == 2


def test_the_first_operator_that_differs_is_named():
    text = Document(report(evaluation())).text
    assert (
        "Stored integers first differ at Mul act, by 1 LSB at most; fed equal integers, only Mul (1 of 1) differ."
        in text
    )
    assert "Mul 1 1" in text


def test_values_and_action_units_are_told_by_their_own_measures():
    heads = (EXPRESSION, AFFECT, UNITS)
    document = report(evaluation(heads), heads)
    assert {"Concordance (CCC): affect", "F1 per action unit: units", "Changed answers: expression"} <= set(
        headings(document)
    )
    text = Document(document).text
    assert "Concordance lost" in text
    assert "F1 lost" in text


def test_a_network_of_values_alone_shows_the_value_that_moved_most():
    found = evaluation((AFFECT,))
    index = found.most_changed(1)[0]
    values = {model: heads["affect"][index] for model, heads in found.outputs.values.items()}
    column = int(np.max([abs(v - values["reference"]) for v in values.values()], axis=0).argmax())
    number = f"{values['reference'][column]:.3f}".replace("-", "\N{MINUS SIGN}")
    assert f"face {index}.png fp32 {AFFECT['labels'][column]} {number}" in Document(report(found, (AFFECT,))).text


def test_the_confusion_tables_hold_every_image():
    found = evaluation()
    table = report(found).split("<h2>Confusion</h2>")[1].split("</table>")[0]
    counts = [int(n) for n in re.findall(r"--heat:[\d.]+\">(\d+)<", table)]
    assert sum(counts) == 120
    assert len(counts) == 9


def test_many_classes_become_lists():
    many = {**EXPRESSION, "kind": "classes", "labels": [f"class {index}" for index in range(30)]}
    document = report(evaluation((many,), count=300), (many,))
    assert "Confusion" not in headings(document)
    assert "The 20 that changed most of 30." in document
    assert re.search(r"class \d+ → class \d+", document)


def test_the_images_that_changed_most_come_first_and_flips_stand_out():
    found = evaluation()
    first = int(found.most_changed(1)[0])
    section = report(found).split("<h2>Images that changed most</h2>")[1].split("</section>")[0]
    assert section.count("<li>") == 20
    assert section.index(f"face {first}.png") == section.index("face ")
    p = found.outputs.values["reference"]["expression"][first]
    label = EXPRESSION["labels"][int(p.argmax())]
    assert f"<dt>fp32</dt><dd>{label} " in section
    flipped = [
        (index, model)
        for index in found.most_changed()
        for model in ("tflite", "onnx")
        if found.outputs.values[model]["expression"][index].argmax()
        != found.outputs.values["reference"]["expression"][index].argmax()
    ]
    assert flipped
    assert section.count("<strong>") == len(flipped)


@pytest.mark.parametrize(("shape", "embedded"), [((8, 6), (8, 6)), ((200, 100), (64, 48))])
def test_pixels_are_embedded_only_when_given_and_never_larger_than_the_network_sees(shape, embedded):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    found = evaluation(count=3)
    images = ImageSet("faces.npz", found.outputs.names, ("",) * 3, lambda name: pixels)
    assert "<img" not in report(found)
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', report(found, images=images))
    assert len(sources) == 3
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(sources[0]), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert decoded.shape[:2] == embedded
    if shape == embedded:
        assert np.array_equal(decoded, pixels)


def test_what_could_not_be_used_is_stated():
    data = DataIdentity("faces.npz", "a" * 64, 2, ("contempt",), 7, ("sad",), ("AU1: 3 of 9 images have no target",))
    text = Document(report(evaluation(data=data))).text
    assert "2 images that could not be read" in text
    assert "contempt: 7 images, in no label metric" in text
    assert "Classes without images sad" in text
    assert "AU1: 3 of 9 images have no target" in text


def test_the_document_is_whole_has_no_nan_and_asks_for_nothing():
    heads = (EXPRESSION, AFFECT, UNITS)
    source = report(evaluation(heads), heads)
    document = Document(source)
    assert document.open == []
    assert not {"script", "iframe", "object", "img"} & set(document.tags)
    assert not re.search(r"\b(nan|inf|None)\b", document.text)
    assert not re.search(r"url\(|@import|https?:", source)
    levels = [int(tag[1]) for tag in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert document.tags.count("table") == document.tags.count("caption")


def test_hostile_names_stay_text():
    hostile = '"><script>alert(1)</script>'
    head = {**EXPRESSION, "labels": [hostile, "happy", "sad"]}
    found = evaluation((head,), data=DataIdentity(hostile, "a", notes=(hostile,), unmatched_classes=(hostile,)))
    assert "script" not in Document(report(found, (head,))).tags


def test_equal_evaluations_give_equal_documents():
    assert report(evaluation()) == report(evaluation())
