import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgefer
from edgefer.errors import InputError
from edgefer.gates.baseline import from_document, to_text
from edgefer.host.documents import Document, read_document
from tests.gates.files import expressions, make_bundle, schema, write_benchmark, write_evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("baseline")


@pytest.fixture(scope="module")
def bundle(folder):
    return make_bundle(folder)


@pytest.fixture(scope="module")
def text(bundle):
    """A baseline with everything in it."""
    benchmarks = [write_benchmark(bundle, seed=seed, instructions={"total": 150e6}) for seed in range(2)]
    return edgefer.check(bundle, evaluation=write_evaluation(bundle, expressions()), benchmarks=benchmarks).baseline


def test_what_is_written_is_read_back_equal(text):
    assert to_text(from_document(Document("baseline.json", json.loads(text)))) == text


def test_it_follows_its_schema(text, bundle):
    for written in (text, edgefer.check(bundle).baseline):
        jsonschema.validate(json.loads(written), schema("baseline"))


def test_states_and_sequences_are_kept(tmp_path):
    states = [{"name": "h", "input": "h", "output": "hn", "shape": [1, 4], "initial": 0.0}]
    bundle = make_bundle(tmp_path, states=states)
    sequences = [1000, 1000, 2000]
    written = edgefer.check(bundle, evaluation=write_evaluation(bundle, expressions(), sequences=sequences)).baseline
    jsonschema.validate(json.loads(written), schema("baseline"))
    assert to_text(from_document(Document("baseline.json", json.loads(written)))) == written
    assert json.loads(written)["evaluation"]["data"]["sequences"] == sequences
    for wrong in ([1000, 1000], [4000, 0], [-1, 4001]):
        evaluation = write_evaluation(bundle, expressions(), sequences=wrong)
        with pytest.raises(InputError, match="its sequences do not have as many images as were answered"):
            edgefer.check(bundle, evaluation=evaluation)


def test_a_diff_shows_one_sorted_value_per_line(text):
    lines = text.splitlines()
    assert '      "accuracy: tflite": 70.0,' not in lines  # the figure is the fixture's, not a constant
    assert any(
        line.startswith('      "accuracy: tflite": 6') or line.startswith('      "accuracy: tflite": 7')
        for line in lines
    )
    assert '      "bytes": 4000000,' in lines
    assert len(lines) < 150
    assert max(map(len, lines)) < 5000
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_a_better_accuracy_changes_few_lines(text, bundle):
    better = edgefer.check(bundle, evaluation=write_evaluation(bundle, expressions(changed=0.0))).baseline
    evaluation = json.loads(text)["evaluation"]
    changed = json.loads(better)["evaluation"]
    assert evaluation["answers"]["expression"]["targets"] == changed["answers"]["expression"]["targets"]
    assert evaluation["found"]["accuracy: onnx"] != changed["found"]["accuracy: onnx"]


def test_times_that_are_no_evidence_are_not_kept(bundle):
    kept = json.loads(edgefer.check(bundle, benchmarks=[write_benchmark(bundle, status="noisy")]).baseline)
    assert kept["benchmarks"]["pi4"]["threads"]["1"]["tflite"]["p50_ms"] == []


def test_a_baseline_without_times_cannot_judge_them(bundle, folder):
    (folder / "noisy.json").write_text(
        edgefer.check(bundle, benchmarks=[write_benchmark(bundle, status="noisy")]).baseline
    )
    result = edgefer.check(bundle, folder / "noisy.json", benchmarks=[write_benchmark(bundle)])
    reasons = {d.reason for d in result.decisions if d.gate == "latency_p50"}
    assert reasons == {"the baseline's is no evidence: its times were no evidence when it was made"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ("[]", "not a file of schema edgefer.baseline/1"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": "edgefer.evaluation/1"}', "not a file of schema edgefer.baseline/1"),
        ('{"schema": "edgefer.baseline/1"}', "damaged: 'input' is missing"),
    ],
)
def test_what_is_no_baseline_is_refused_with_a_reason(bundle, folder, content, told):
    (folder / "wrong.json").write_text(content)
    with pytest.raises(InputError, match=told) as error:
        edgefer.check(bundle, folder / "wrong.json")
    assert "wrong.json" in error.value.message
    assert "--update-baseline" in error.value.remedy or "Make it again" in error.value.remedy


def test_a_missing_baseline_is_named(bundle, folder):
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        edgefer.check(bundle, folder / "none.json")


_JUNK = st.sampled_from([None, -1, 1e400, float("nan"), "x", "float32[999999999,9] AAAA", [], {}, True, [[]], {"a": 1}])


@given(data=st.data(), junk=_JUNK)
@settings(max_examples=150)
def test_a_damaged_baseline_is_refused_or_judged_but_never_a_traceback(bundle, text, folder, data, junk):
    document = json.loads(text)
    parent = document
    while True:
        key = data.draw(st.sampled_from(sorted(parent))) if isinstance(parent, dict) else len(parent) - 1
        child = parent[key]
        if not isinstance(child, dict | list) or not child or data.draw(st.booleans()):
            parent[key] = junk
            break
        parent = child
    (folder / "damaged.json").write_text(json.dumps(document))
    try:
        result = edgefer.check(bundle, folder / "damaged.json")
    except InputError as error:
        assert "damaged.json" in error.message
    else:
        assert result.outcome in ("pass", "fail", "unknown")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"per_image": {"expression": {"reference": "int16[3] AAAA"}}}, "damaged"),
        ({"per_image": {}}, ""),
        ({"data": {}}, "'source' is missing"),
        ({"bundle": {"artifacts": {"tflite": {"sha256": "0"}}}}, "is about another bundle"),
    ],
)
def test_a_damaged_evaluation_is_refused_with_a_reason(bundle, folder, change, told):
    path = write_evaluation(bundle, expressions(50))
    document = json.loads(path.read_text()) | change
    path.write_text(json.dumps(document))
    if not told:
        assert edgefer.check(bundle, evaluation=path).outcome == "unknown"
        return
    with pytest.raises(InputError, match=told):
        edgefer.check(bundle, evaluation=path)


def test_answers_that_do_not_fit_the_heads_are_refused(bundle):
    answers = expressions(50)
    answers["expression"]["tflite"] = np.full(50, 9)
    with pytest.raises(InputError, match="what tflite says does not fit head expression"):
        edgefer.check(bundle, evaluation=write_evaluation(bundle, answers))
    answers["expression"]["tflite"] = np.zeros(49, int)
    with pytest.raises(InputError, match="different numbers of images"):
        edgefer.check(bundle, evaluation=write_evaluation(bundle, answers))


def test_times_that_are_no_times_are_refused(bundle):
    for samples in ([1.0, -1.0], [float("nan")], ["fast"]):
        with pytest.raises(InputError, match="damaged"):
            edgefer.check(bundle, benchmarks=[write_benchmark(bundle, invoke_ms={"samples": samples})])


def test_a_document_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError) as error:
        read_document(tmp_path / "none.json", "edgefer.evaluation/1", "edgefer evaluate --json")
    assert "edgefer evaluate --json" in error.value.remedy
