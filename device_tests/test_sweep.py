"""A sweep over small networks on the boards under test: interrupted twice, it ends with the same table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgefer.board import CPUS
from edgefer.device import find_device
from edgefer.sweeping import sweep as module
from edgefer.sweeping.request import read_request
from edgefer.sweeping.summary import csv_rows
from edgefer.sweeping.sweep import sweep
from tests.sweeping.sweeps import write_sweep


class StoppedError(Exception):
    pass


def test_a_sweep_on_boards_goes_on_where_it_was_interrupted(request, tmp_path, monkeypatch):
    boards = request.config.getoption("--device") or [
        request.getfixturevalue(cpu.replace("cortex-", "board_")).name for cpu in CPUS
    ]
    file = write_sweep(tmp_path, boards, networks=1, options=2)
    asked = read_request(file)
    measured = []
    real = module.benchmark

    def benchmark(bundle, targets, **options):
        measured.append((bundle.path.name, targets[0].name))
        if len(measured) in stops:
            raise StoppedError
        return real(bundle, targets, **options)

    monkeypatch.setattr(module, "benchmark", benchmark)
    stops = {2, 4}
    for _ in stops:
        with pytest.raises(StoppedError):
            sweep(asked, tmp_path / "parts")
    found = sweep(asked, tmp_path / "parts")
    assert not found.failures
    assert len(found.points) == 2 * 2
    assert all(point.paces.keys() == {find_device(name).name for name in boards} for point in found.points)
    assert len(measured) <= 2 * len(boards) + len(stops)
    monkeypatch.setattr(module, "benchmark", None)  # nothing is left to be measured
    again = sweep(asked, tmp_path / "parts")
    assert list(csv_rows(again)) == list(csv_rows(found))
    done = subprocess.run([sys.executable, "-m", "edgefer", "sweep", file, "-o", tmp_path / "parts", "-q"], check=False)
    assert done.returncode == 0
