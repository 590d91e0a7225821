import os

import pytest

from edgefer.errors import InputError
from edgefer.execution import Local, Store, execute, local
from edgefer.host.progress import SILENT, Silent
from tests.execution.tasks import done, jobs, square


class Counting(Silent):
    def __init__(self):
        self.steps = 0
        self.notes = []

    def stage(self, name, total=None):
        from contextlib import contextmanager

        @contextmanager
        def entered():
            yield self._advance

        return entered()

    def _advance(self):
        self.steps += 1

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def processes(monkeypatch):
    """So that even little work is done by processes."""
    monkeypatch.setattr(local, "PAYS", 0)
    return Local(2, processes=True)


def run(tmp_path, workers, count=9, progress=SILENT, **options):
    task = square(tmp_path, **options)
    return dict(execute(task, jobs(count), workers, Store(tmp_path / "store"), progress, "square", "steps"))


@pytest.mark.parametrize("workers", [Local(1), Local(3)])
def test_threads_give_every_outcome_in_its_place(tmp_path, workers):
    progress = Counting()
    assert run(tmp_path, workers, progress=progress) == {n: str(10 * n * n).encode() for n in range(9)}
    assert progress.steps == 27
    assert {process for _, process in done(tmp_path)} == {os.getpid()}


def test_processes_do_the_same_and_what_was_done_is_not_done_again(tmp_path, processes):
    progress = Counting()
    first = run(tmp_path, processes, 5, progress)
    assert progress.steps == 15
    assert os.getpid() not in {process for _, process in done(tmp_path)}
    again = Counting()
    assert run(tmp_path, processes, 9, again) == first | {n: str(10 * n * n).encode() for n in range(5, 9)}
    assert sorted(number for number, _ in done(tmp_path)) == list(range(9))
    assert again.notes == ["15 of 27 steps were done before an interruption; going on from there"]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_bad_input_is_the_affair_of_its_job_and_is_not_kept(tmp_path, kind, request):
    workers = request.getfixturevalue("processes") if kind == "processes" else Local(2)
    outcomes = run(tmp_path, workers, 4, bad=(2,))
    assert isinstance(outcomes[2], InputError) and outcomes[2].message == "2: is no number to square"
    assert run(tmp_path, workers, 4)[2] == b"40"


def test_a_result_that_was_damaged_on_disk_is_made_again(tmp_path):
    run(tmp_path, Local(1), 2)
    entry = tmp_path / "store" / "key1"
    entry.write_bytes(entry.read_bytes()[:-1] + b"x")
    assert run(tmp_path, Local(1), 2) == {0: b"0", 1: b"10"}
    assert [number for number, _ in done(tmp_path)] == [0, 1, 1]
