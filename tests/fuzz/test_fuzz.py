"""A short run of `python -m tests.fuzz`."""

import pytest

from edgefer.checkpoint import read_checkpoint
from edgefer.errors import InputError
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


def test_a_checkpoint_of_one_byte_is_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"w\.pt: "):
        read_checkpoint(tmp_path / "w.pt")
