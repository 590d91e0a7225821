import xml.etree.ElementTree as ET

import pytest

from edgefer.gates.formats import rows, to_annotations, to_junit, to_markdown
from edgefer.gates.results import Check, Decision, Finding

FOUND = Finding(8.1, 8.1, 8.1, 8.0, "B", "8.10 MB")


@pytest.fixture
def check():
    """One decision of each outcome, with text that means something to every format."""
    return Check(
        "net<1>",
        (
            Decision("size", "size", "tflite", "at most 8 MB", "pass", "", FOUND),
            Decision("size", "size", "onnx", "at most 8 MB", "fail", "beyond the bound", FOUND),
            Decision("ccc", "ccc", "", "at most 0.01 less than the baseline", "skip", "not measured"),
            Decision("slow, 90 %", "latency_p90", "a|b & c", "at most 2 ms", "unknown", "noisy: 5 %", FOUND),
        ),
        ("pi4 is <emulated>",),
        "{}",
    )


def test_a_failure_outweighs_what_cannot_be_told(check):
    assert (check.outcome, check.exit_code) == ("fail", 1)
    rest = Check("net", check.decisions[2:], (), "{}")
    assert (rest.outcome, rest.exit_code) == ("unknown", 5)
    assert Check("net", check.decisions[:1], (), "{}").exit_code == 0


def test_the_table_begins_with_what_failed(check):
    assert [row[-1] for row in rows(check)[1]] == ["failed", "not enough evidence", "passed", "not applied"]


def test_junit_tells_failures_errors_and_skips_apart(check):
    suite = ET.fromstring(to_junit(check).encode())
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    kinds = [[child.tag for child in case] for case in suite]
    assert kinds == [["system-out"], ["failure"], ["skipped"], ["error"]]
    assert suite[3].get("name") == "slow, 90 % [a|b & c] at most 2 ms"
    assert suite[1][0].get("message") == "size on onnx: 8.10 MB; at most 8 MB: beyond the bound"


def test_control_characters_never_reach_junit():
    odd = Decision("size\x00\x1b", "size", "\ud800", "at most 8 MB", "fail", "\x07")
    assert ET.fromstring(to_junit(Check("a\x01", (odd,), (), "{}")).encode()).get("failures") == "1"


def test_markdown_escapes_what_it_did_not_write(check):
    text = to_markdown(check)
    assert text.startswith("### ❌ net\\<1>: gates failed\n")
    assert "- ❌ size on onnx: 8.10 MB; at most 8 MB: beyond the bound" in text
    assert "pi4 is \\<emulated>" in text
    assert "a\\|b & c" in text


def test_markdown_hides_what_passed_behind_a_click(check):
    told, _, hidden = to_markdown(check).partition("<details>")
    assert told.count("\n- ") == 3
    assert "<summary>1 failed, 1 not enough evidence, 1 passed, 1 not applied</summary>" in hidden
    assert "| size | tflite | at most 8 MB | 8.10 MB | passed |" in hidden
    assert "ccc" not in hidden


def test_annotations_escape_what_github_would_read(check):
    assert to_annotations(check).splitlines() == [
        "::error title=edgefer%3A size::size on onnx: 8.10 MB; at most 8 MB: beyond the bound",
        "::warning title=edgefer%3A slow%2C 90 %25::slow, 90 %25 on a|b & c: 8.10 MB; at most 2 ms: noisy: 5 %25",
    ]
