import json
import re
from copy import deepcopy
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from edgefer.report import conversion_report
from tests.report.document import MANIFEST, Document, digest, point, solution


def report(**changes: Any) -> Document:
    return Document(conversion_report({**MANIFEST, **changes}))


def test_the_headline_says_that_the_budget_holds_and_how_well_the_files_agree() -> None:
    text = report().text
    assert "The budget of 8.00 MB holds: the largest file has 5.13 MB." in text
    assert "on 98 images held back from calibration, same top class: TFLite 93.9 %, ONNX 92.9 %." in text


def test_the_headline_says_which_file_is_over_the_budget_and_by_how_much() -> None:
    document = report(budget_bytes=5_000_000)
    assert "The budget of 5.00 MB does not hold: ONNX is 128,114 bytes over." in document.text
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
    assert "Same top class 93.9 %" in text


def test_the_contract_says_what_to_feed_and_what_comes_back() -> None:
    text = report().text
    assert "uint8 (1, 64, 48, 3) , RGB, 0 to 255" in text
    assert "bicubic, shorter side, then the centre cut out, 0.875 of that side" in text
    assert "in BGR order, with mean 0.5, 0.4, 0.3 and std 0.5, 0.5, 0.25" in text
    assert "Output expression : probabilities that sum to 1 0 angry 1 <happy>" in text


def test_the_contract_tells_of_clips_and_of_files_that_take_and_return_integers() -> None:
    tflite, *others = MANIFEST["artifacts"]
    io = {"input": {"dtype": "int8", "scale": 1.0, "zero_point": -128}}
    text = report(artifacts=[{**tflite, "io": io}, *others], input={**MANIFEST["input"], "frames": 8}).text
    assert "uint8 (1, 8, 64, 48, 3) , RGB, 0 to 255" in text
    assert "Integers in TFLite input int8, scale 1, zero point -128" in text
    assert text.count("Integers in") == 1


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


def solved(*points: dict[str, Any], **changes: Any) -> Document:
    return report(solution=solution(*points, **changes))


def charts_of(document: Document) -> list[str | None]:
    return [value for name, value in document.attributes if (name, value) == ("class", "chart framed")]


def test_without_a_solver_there_is_no_word_of_its_choice() -> None:
    assert "Size, drop and latency" not in report().text
    assert "allowed drop" not in report().text


def test_the_frontier_is_drawn_and_told_as_numbers() -> None:
    document = solved()
    assert "3 ways to mix int8, float and 4-bit weights were weighed" in document.text
    assert "1, full int8 1.000 14.0 2.00 5,128,114 0 0 2, chosen 1.100 20.0 0.80 5,128,114 1 0" in document.text
    assert "Chosen point 2, 1.100 times full int8, 20.0 dB, drop 0.80 points, 5,128,114 bytes" in document.text
    assert "Units in float stem Layers in 4 bits none" in document.text
    assert len(charts_of(document)) == 2
    assert document.open == []


def test_the_size_is_drawn_where_it_differs() -> None:
    document = solved(point(chosen=True), point(bytes=4_000_000, int4=["head"], latency=1.1))
    assert len(charts_of(document)) == 3
    assert "MB of the largest int8 file" in document.text
    assert "2 1.100 14.0 2.00 4,000,000 0 1" in document.text


def test_points_without_noise_are_not_in_the_chart_of_noise() -> None:
    document = solved(point(sqnr_db=None, chosen=True), point(sqnr_db=None, latency=1.1))
    assert len(charts_of(document)) == 1
    assert "1, full int8, chosen 1.000 no noise 2.00" in document.text


def test_a_single_point_has_facts_and_no_chart() -> None:
    document = solved(point(chosen=True), max_drop=2.5)
    assert charts_of(document) == []
    assert "Only full int8 was weighed" in document.text
    assert "Chosen point 1, 1.000 times full int8, 14.0 dB, drop 2.00 points, 5,128,114 bytes" in document.text
    assert "Float units" not in document.text


def test_of_many_points_the_table_has_the_first_the_last_and_those_around_the_chosen() -> None:
    many = [point(latency=1 + index / 100, chosen=index == 20) for index in range(40)]
    text = solved(*many).text
    assert "7 of 40 points" in text
    shown = re.findall(r" (1\.\d\d0) 14\.0 2\.00 ", text)
    assert shown == ["1.000", "1.180", "1.190", "1.200", "1.210", "1.220", "1.390"]
    assert "All points" in solved(*many[20 - 11 : 21]).text


def test_the_headline_says_whether_the_allowed_drop_holds() -> None:
    kept, missed = solved(), solved(drop_over=0.3, max_drop=0.5)
    assert "The allowed drop of 1 point holds: 0.80 points expected." in kept.text
    assert ("class", "verdict") in kept.attributes
    assert "The allowed drop of 0.5 points does not hold: 0.80 points expected, 0.30 over." in missed.text
    assert ("class", "verdict missed") in missed.attributes
    assert "allowed drop" not in solved(max_drop=None).text


@pytest.mark.parametrize(
    ("bytes_over", "drop_over", "max_drop", "said"),
    [
        (2, 0.0, 1.0, "is 2 bytes over the budget of 8.00 MB, and its drop is within the allowed 1 point."),
        (0, 0.001, 0.799, "keeps the budget of 8.00 MB, and its drop is 0.001 over the allowed 0.799 points."),
        (
            1234,
            0.3,
            0.5,
            "is 1,234 bytes over the budget of 8.00 MB, and its drop is 0.30 over the allowed 0.5 points.",
        ),
        (1234, 0.0, None, "is 1,234 bytes over the budget of 8.00 MB, and no bound was set for its drop."),
    ],
)
def test_both_distances_are_told_where_a_bound_is_missed(
    bytes_over: int, drop_over: float, max_drop: float | None, said: str
) -> None:
    text = solved(bytes_over=bytes_over, drop_over=drop_over, max_drop=max_drop).text
    assert f"No point keeps every bound: the chosen one {said}" in text
    assert "No point keeps every bound" not in solved().text


def test_many_parts_that_are_exceptions_are_cut_short() -> None:
    text = solved(point(), point(float=[f"unit{index}" for index in range(50)], chosen=True)).text
    assert "unit39 , and 10 more in manifest.json" in text
    assert "unit40" not in text


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        ({}, True),
        ({"max_drop": None}, True),
        ({"points": [point(chosen=True, sqnr_db=None)]}, True),
        ({"points": [point()]}, False),
        ({"points": [point(chosen=True), point(chosen=True)]}, False),
        ({"points": []}, False),
        ({"drop_over": None}, False),
        ({"other": 1}, False),
    ],
)
def test_a_solution_is_as_the_schema_says(change: dict[str, Any], is_valid: bool) -> None:
    schema = json.loads(files("edgefer").joinpath("schemas/bundle-1.schema.json").read_text("utf-8"))
    assert "solution" not in schema["required"]
    validator = jsonschema.Draft202012Validator(schema["properties"]["solution"] | {"$defs": schema["$defs"]})
    assert validator.is_valid(solution(**change)) == is_valid


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
        name=hostile,
        tools={hostile: hostile},
        calibration={**MANIFEST["calibration"], "source": hostile},
        solution=solution(point(), point(float=[hostile], int4=[hostile], chosen=True)),
    )
    assert "script" not in document.tags
    assert document.text.count(hostile) == 7


def test_the_document_is_whole_and_asks_for_nothing() -> None:
    document = report()
    assert document.open == []
    assert [tag for tag in document.tags if tag in ("script", "img", "iframe", "object")] == []
    assert [value for name, value in document.attributes if name in ("src", "href")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", conversion_report(MANIFEST))


def test_equal_manifests_give_equal_documents() -> None:
    assert conversion_report(MANIFEST) == conversion_report(deepcopy(MANIFEST))


def test_that_weights_were_learned_for_the_chosen_way_alone_is_said_where_they_were() -> None:
    learned = {**MANIFEST["quantization"], "learned_steps": 60}
    assert "learned for the chosen way" not in report(solution=solution()).text
    assert "Weights were learned for the chosen way alone." in report(solution=solution(), quantization=learned).text


def test_a_latency_that_is_not_bounded_has_no_line() -> None:
    bounded, free = report(solution=solution()), report(solution=solution(max_latency=None))
    assert "and may be 1.19" in bounded.text and "and may be" not in free.text
    assert bounded.text.count("bound 1.19") == 2
    assert "bound 1.19" not in free.text


def test_that_held_back_images_chose_is_said_where_they_did() -> None:
    assert "They chose among the points too" in report(solution=solution()).text
    packed = solution(point(), point(int4=["neck"], bytes=4_000_000, chosen=True))
    assert "They chose" not in report(solution=packed).text


def test_what_was_removed_is_told_round_by_round() -> None:
    assert "Smaller and smaller" not in report().text
    shrunk = {"parameters_before": 11_180_000, "macs_before": 148_600_000, "parameters": 7_700_000, "macs": 99_000_000}
    shrunk |= {"learned_steps": 230, "images": 100, "costs_of": "a phone"}
    rounds = [
        {
            "parameters": 10_200_000,
            "macs": 131_000_000,
            "bytes": 10_300_000,
            "latency": 0.9,
            "sqnr_db": 31.23,
            "drop": 0.1,
        },
        {"parameters": 7_700_000, "macs": 99_000_000, "bytes": 7_800_000, "latency": 0.7, "sqnr_db": None, "drop": 0.0},
    ]
    shrunk = {"rounds": rounds, "quantization": {**MANIFEST["quantization"], "shrunk": shrunk}}
    alone, together = report(**shrunk), report(**shrunk, solution=solution(point(latency=1.0), point(chosen=True)))
    assert "1 10.20 131.00 10,300,000 0.900 31.2 0.10 2 7.70 99.00 7,800,000 0.700 0.00" in alone.text
    assert "2 points. Chosen: round 2 of removing" in alone.text
    assert "Across: latency, times full int8, by what operators cost on a phone." in alone.text
    assert "4 points. Chosen: point 2" in together.text and together.text.count("Expected drop over latency") == 1
