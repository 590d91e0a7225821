import re
from copy import deepcopy
from typing import Any

import pytest

from edgefer.report import conversion_report
from edgefer.report.conversion import wilson_interval
from tests.report.document import MANIFEST, Document, digest


def report(**changes: Any) -> Document:
    return Document(conversion_report({**MANIFEST, **changes}))


def test_the_headline_says_that_the_budget_holds_and_how_well_the_files_agree() -> None:
    text = report().text
    assert "The budget of 8.00 MB holds: the largest int8 file has 5.13 MB." in text
    assert "on 98 images held back from calibration, same top class: TFLite 93.9 %, ONNX 92.9 %." in text


def test_the_headline_says_which_file_is_over_the_budget_and_by_how_much() -> None:
    document = report(budget_bytes=5_000_000)
    assert "The budget of 5.00 MB does not hold: ONNX is 0.13 MB over." in document.text
    assert ("class", "verdict missed") in document.attributes
    assert ("class", "int8 over") in document.attributes


def test_the_float_reference_has_no_budget() -> None:
    assert "16.01 MB The line" in report().text
    assert "holds" in report(budget_bytes=5_200_000).text


def test_few_held_back_images_are_called_few() -> None:
    assert "rough idea" not in report().text
    assert "rough idea" in report(held_back={**MANIFEST["held_back"], "count": 12}).text


def test_the_table_compares_sizes_operators_and_agreement() -> None:
    text = report().text
    assert "Bytes 4,883,280 5,128,114 16,011,223" in text
    assert "int8 operators 238 238 0" in text
    assert "Float operators 6 6 244" in text
    low, high = wilson_interval(0.93877, 98)
    assert f"Same top class 93.9 % {100 * low:.1f} to {100 * high:.1f}" in text


def test_the_contract_says_what_to_feed_and_what_comes_back() -> None:
    text = report().text
    assert "uint8 (1, 64, 48, 3) , RGB, 0 to 255" in text
    assert "bicubic, shorter side, then the centre cut out, 0.875 of that side" in text
    assert "in BGR order, with mean 0.5, 0.4, 0.3 and std 0.5, 0.5, 0.25" in text
    assert "Output expression : probabilities that sum to 1 0 angry 1 <happy>" in text


def test_every_head_is_judged_by_its_own_measure() -> None:
    heads = [
        *MANIFEST["outputs"],
        {"name": "mood", "kind": "valence_arousal", "labels": ["valence", "arousal"], "activation": "tanh"},
        {"name": "units", "kind": "action_units", "labels": ["AU1", "AU2"], "activation": "sigmoid"},
    ]
    held_back = deepcopy(MANIFEST["held_back"])
    for values in held_back["agreement"].values():
        values.update(mood=0.99312, units=0.981)
    text = report(outputs=heads, held_back=held_back).text
    assert "Correlation, mood 0.9931 0.9931 reference" in text
    assert "Same decisions, units 98.1 % 98.1 % reference" in text
    assert "Same top class, expression 93.9 %" in text


def test_many_labels_are_cut_short() -> None:
    head = {**MANIFEST["outputs"][0], "kind": "classes", "labels": [f"class {index}" for index in range(1000)]}
    text = report(outputs=[head]).text
    assert "39 class 39 and 960 more in labels.txt" in text
    assert "class 40" not in text


def test_every_hash_and_version_is_there() -> None:
    text = report().text
    sources = ("source", "calibration", "held back", "faces_int8.tflite", "faces_int8.onnx", "faces_fp32.onnx")
    for name in sources:
        assert digest(name) in text
    assert "edgefer 0.1.0, 2001-02-03T04:05:06Z" in text
    assert "numpy 2.4.6, onnx 1.23.2" in text


def test_a_quantization_fact_it_does_not_know_is_shown_all_the_same() -> None:
    assert "new_fact kept" in report().text
    assert "Parameters 4,016,515" in report().text


def test_skipped_files_are_counted() -> None:
    assert "Skipped" not in report().text
    assert "Skipped 3 files" in report(calibration={**MANIFEST["calibration"], "skipped": 3}).text


def test_expression_networks_come_with_the_law_and_others_without() -> None:
    assert "AI Act" in report().text
    assert "AI Act" not in report(outputs=[{**MANIFEST["outputs"][0], "kind": "classes"}]).text


def test_hostile_names_stay_text() -> None:
    hostile = '"><script>alert(1)</script>'
    document = report(
        name=hostile, tools={hostile: hostile}, calibration={**MANIFEST["calibration"], "source": hostile}
    )
    assert "script" not in document.tags
    assert document.text.count(hostile) == 5


def test_the_document_is_whole_and_asks_for_nothing() -> None:
    document = report()
    assert document.open == []
    assert [tag for tag in document.tags if tag in ("script", "img", "iframe", "object")] == []
    assert [value for name, value in document.attributes if name in ("src", "href")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", conversion_report(MANIFEST))


def test_equal_manifests_give_equal_documents() -> None:
    assert conversion_report(MANIFEST) == conversion_report(deepcopy(MANIFEST))


@pytest.mark.parametrize(
    ("share", "count", "interval"),
    [(0.0, 10, (0.0, 0.2775)), (0.7, 10, (0.3968, 0.8922)), (1.0, 10, (0.7225, 1.0)), (0.5, 1000, (0.4691, 0.5309))],
)
def test_the_interval_is_the_published_one(share: float, count: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(share, count) == pytest.approx(interval, abs=1e-4)
