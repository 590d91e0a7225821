import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.board.instructions import CLASSES, Instructions, parse, per_frame
from edgefer.errors import InputError

amounts = st.fixed_dictionaries({name: st.integers(0, 2**63) for name in CLASSES})


def line(counts, mark="snapshot", k=0):
    return json.dumps({"mark": mark, "k": k, **counts}) + "\n"


def same(value):
    return dict.fromkeys(CLASSES, value)


@given(st.dictionaries(st.integers(0, 65535), amounts, max_size=5), amounts)
def test_what_armstat_writes_is_read_back(snapshots, end):
    counts = parse("".join(line(c, k=k) for k, c in snapshots.items()) + line(end, "exit"))
    assert {k: dict(one.by_class) for k, one in counts.snapshots.items()} == snapshots
    assert counts.exit is not None
    assert counts.exit.total == sum(end.values())


@given(amounts, amounts)
def test_between_two_snapshots_lies_what_was_executed_after_the_first(before, executed):
    after = {name: before[name] + executed[name] for name in CLASSES}
    counts = parse(line(before, k=3) + line(after, k=4))
    assert counts.between(3, 4) == Instructions(executed)


def test_a_frame_costs_the_median_of_frames_so_that_a_rare_one_does_not_count():
    totals = [0, 10, 20, 900, 910]
    counts = parse("".join(line(same(total), k=k) for k, total in enumerate(totals)))
    assert per_frame(counts, range(4)) == Instructions(same(10))


def test_a_program_that_was_killed_has_no_counts_at_its_exit():
    assert parse(line(same(1), k=7)).exit is None


def test_a_missing_snapshot_is_named():
    with pytest.raises(InputError, match="snapshot 5 is missing"):
        parse(line(same(1), k=4)).between(4, 5)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", "1", "{}", line({**same(1), "load": -1}), line({**same(1), "load": "1"}), line(same(True))],
)
def test_a_line_that_is_not_armstats_is_told_with_its_number(text):
    with pytest.raises(InputError, match="line 2 is not armstat's"):
        parse(line(same(0)) + text)
