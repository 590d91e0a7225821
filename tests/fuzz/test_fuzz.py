"""A short run of `python -m tests.fuzz`."""

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize(
    ("kinds", "count"),
    [
        (("onnx",), 60),
        (("checkpoint", "npz", "zip", "spec"), 60),
        (("convert",), 2),
        (("bundle", "package"), 12),
    ],
)
def test_damaged_inputs_end_in_errors_of_ours_and_leave_nothing(kinds, count, tmp_path):
    assert set(kinds) <= set(TARGETS)
    findings = fuzz(count, 7, tmp_path, kinds)
    assert [f"{each['kind']} {each['index']}: {each['said']}" for each in findings] == []
