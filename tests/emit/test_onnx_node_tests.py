"""ONNX's own node tests: each passes in the float graph and in float TFLite, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emit.onnx_node_tests import OUT_OF_SCOPE, Answer, ask, by_operator, names

WHEEL = Path(__file__).parents[2] / ".venv/onnx-node-tests"
FOLDER = WHEEL / "onnx/backend/test/data/node"

LEAST_SHARE = 0.95

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"pip install --no-deps --target {WHEEL} onnx==1.17.0 brings ONNX's node tests, which newer wheels lack",
)


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    return list(ask(FOLDER, names(FOLDER)))


def test_none_is_wrong_and_none_ends_in_a_runtimes_error(answers: list[Answer]) -> None:
    assert len(answers) > 900
    assert [answer for answer in answers if not {answer.graph, answer.tflite} <= {"passes", "refused"}] == []


def test_refusals_name_the_node(answers: list[Answer]) -> None:
    refused = [answer for answer in answers if "refused" in (answer.graph, answer.tflite)]
    assert [answer for answer in refused if not ("node '" in answer.why or "input '" in answer.why)] == []


def test_those_of_inference_pass_in_tflite(answers: list[Answer]) -> None:
    counted = [answer for answer in answers if answer.op not in OUT_OF_SCOPE]
    passed = [answer for answer in counted if answer.tflite == "passes"]
    lacking = {op: len(group) for op, group in by_operator([a for a in counted if a not in passed]).items()}
    assert len(passed) >= LEAST_SHARE * len(counted), f"{len(passed)} of {len(counted)} pass; {lacking} do not"
