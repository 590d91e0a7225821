"""How many interpreters side by side saturate a board, on boards that are made up."""

from dataclasses import replace

import pytest

from edgefer.device.throughput import SIDE_BY_SIDE, Streams, most_attempts, throughput

COOL = {"temperature_c": None, "clock_hz": None, "governor": None, "throttled": None}


def board(cores, *, gain=1.0, thread_gain=0.6):
    """A board on which frames take 10 ms; `gain` of what another interpreter adds, `thread_gain` of a thread."""
    asked = []

    def attempt(batch, threads, instances):
        asked.append((batch, threads, instances))
        running = min(instances, max(cores // threads, 1))
        speed = (1 + thread_gain * (threads - 1)) * (1 + gain * (running - 1))
        wait = 10 * instances / speed
        return Streams(batch, threads, instances, round(1e6 * speed), 1e4, wait, wait, wait, 1, COOL)

    return asked, attempt


def chosen(found):
    return found.saturating.batch, found.saturating.threads, found.saturating.instances


@pytest.mark.parametrize("cores", [1, 2, 4, 6, 16])
def test_interpreters_are_doubled_until_that_gains_nothing(cores):
    asked, attempt = board(cores)
    found = throughput(attempt, cores, [1])
    assert [(s.batch, s.threads, s.instances) for s in found.tried] == asked
    assert len(set(asked)) == len(asked) <= most_attempts(cores, [1])
    assert {(1, 1, 1), (1, 1, SIDE_BY_SIDE)} <= set(asked)
    most = max(instances for _, _, instances in asked)
    assert most >= cores
    assert found.saturating.fps == pytest.approx(max(s.fps for s in found.tried), rel=0.05)


def test_four_cores_are_saturated_by_four_interpreters_of_one_thread():
    asked, attempt = board(4)
    assert chosen(throughput(attempt, 4, [1])) == (1, 1, 4)
    assert asked == [(1, 1, 1), (1, 1, 2), (1, 1, 4), (1, 1, 8), (1, 2, 2), (1, 4, 1)]


def test_where_memory_is_the_limit_one_interpreter_is_enough():
    _, attempt = board(4, gain=0.0, thread_gain=0.0)
    assert chosen(throughput(attempt, 4, [1])) == (1, 1, 1)


def test_a_batch_counts_only_where_it_gains():
    _, attempt = board(2)
    assert chosen(throughput(attempt, 2, [1, 8])) == (1, 1, 2)


def test_a_board_that_slows_itself_down_is_told():
    _, attempt = board(1)
    streams = attempt(1, 1, 1)
    assert not streams.is_throttled
    assert replace(streams, conditions={**COOL, "throttled": "0x50004"}).is_throttled
    assert not replace(streams, conditions={**COOL, "throttled": "0x50000"}).is_throttled  # earlier, not now
