"""`edgefer benchmark` on boards: what they compute, what they count, and what a run leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgefer
from edgefer.board import CPUS
from edgefer.device import Session, find_device
from edgefer.device.results import Settings
from edgefer.device.setup import fetch

SAMPLES = 32
SETTINGS = Settings(frames=8, seconds=0.0, warmup=2)


@pytest.fixture(scope="session")
def runs(fer_b0, faces, request):
    """The bundle on every board under test at once: by the board's name."""
    names = request.config.getoption("--device")
    if not names:
        names = [request.getfixturevalue(cpu.replace("cortex-", "board_")).name for cpu in CPUS]
    emulated = all(find_device(name).emulated for name in names)
    found = edgefer.benchmark(
        fer_b0, names, data=faces, samples=SAMPLES, settings=SETTINGS, count_instructions=emulated, operator_costs=True
    )
    assert not found.failures
    return {run.device["name"]: run for run in found.runs}


@pytest.fixture
def run(runs, board):
    return runs[find_device(board.name).name]


def int8(run):
    return [artifact for artifact in run.artifacts.values() if artifact.artifact.precision == "int8"]


def test_a_board_computes_the_integers_that_the_host_computes(run):
    assert {artifact.artifact.format for artifact in int8(run)} == {"tflite", "onnx"}
    for artifact in int8(run):
        assert artifact.drift.samples == SAMPLES
        for head in artifact.drift.heads:
            assert (head.lsb.max, head.lsb.share_equal) == (0, 1.0)
            assert head.from_host.identical == 1.0


def test_float_differs_from_the_host_by_rounding_only(run):
    reference = next(a for a in run.artifacts.values() if a.artifact.precision == "float32")
    assert reference.drift.heads[0].from_host.max_abs_difference < 1e-4
    assert reference.drift.heads[0].from_reference.agreement.value == 1.0


def test_drift_on_the_board_is_small(run):
    for artifact in int8(run):
        assert artifact.drift.heads[0].from_reference.agreement.value > 0.85


def test_xnnpack_takes_every_operator(run):
    tflite = next(artifact for artifact in int8(run) if artifact.artifact.format == "tflite")
    assert tflite.runtime["delegate"] == "XNNPACK"
    assert tflite.nodes["delegated"] == tflite.nodes["total"] > 200


def test_every_frame_and_the_conditions_are_kept(run):
    for artifact in run.artifacts.values():
        assert len(artifact.timing.invoke.samples) == SETTINGS.frames
    assert run.before["temperature_c"] is not None
    assert run.timeline


def test_an_emulated_board_is_labelled(run, board):
    if board.emulated is None:
        pytest.skip("a real board")
    assert run.device["emulated"]
    assert any("EMULATED" in reason for reason in run.verdict.reasons)
    assert run.verdict.status == "trusted"


def test_int8_takes_fewer_instructions_than_float(run, board):
    if board.emulated is None:
        pytest.skip("a real board counts no instructions")
    reference = next(a for a in run.artifacts.values() if a.artifact.precision == "float32")
    for artifact in int8(run):
        assert artifact.instructions.total < reference.instructions.total


def test_the_newer_processor_takes_fewer_instructions_for_int8(runs):
    by_cpu = {run.device["cpu"]: run for run in runs.values()}
    if not {"Cortex-A72", "Cortex-A76"} <= by_cpu.keys() or not all(run.device["emulated"] for run in runs.values()):
        pytest.skip("needs both emulated boards")
    for old, new in zip(int8(by_cpu["Cortex-A72"]), int8(by_cpu["Cortex-A76"]), strict=True):
        assert new.instructions.total < old.instructions.total
        assert new.instructions.by_class["int8_dot"] > old.instructions.by_class["int8_dot"] == 0


def test_two_counts_differ_by_less_than_a_thousandth(runs, fer_b0, faces, board):
    if board.emulated is None:
        pytest.skip("a real board counts no instructions")
    once = Settings(1, 0.0, 1)
    again = edgefer.benchmark(
        fer_b0, [board.name], data=faces, samples=1, settings=once, formats=["tflite"], count_instructions=True
    )
    (second,) = again.runs[0].artifacts.values()
    first = runs[board.name].artifacts[second.artifact.file]
    assert second.instructions.total == pytest.approx(first.instructions.total, rel=1e-3)


def test_what_operators_cost_tells_boards_apart(runs, board):
    costs = runs[find_device(board.name).name].operator_costs
    assert costs.machine.startswith(board.name)
    assert costs.unit == ("ns" if board.emulated is None else "instructions")
    if board.emulated is not None:
        has_dot_products = "asimddp" in runs[board.name].device["features"]
        gain = costs.lines["Dense", "float"].per_mac / costs.lines["Dense", "int8"].per_mac
        assert gain > 3 if has_dot_products else gain < 2


def test_doctor_finds_nothing_missing(board):
    done = edgefer_command("doctor", "--device", board.name, "--json", "-", "-q")
    document = json.loads(done.stdout)
    assert document["healthy"], document
    assert done.returncode == 0


def test_clean_leaves_no_file_behind(board):
    with Session(find_device(board.name)) as session:
        session.push(b"something")
        directory = session.machine["directory"]
    edgefer_command("devices", "clean", board.name, check=True)
    if board.emulated is not None:
        assert not (board.emulated.rootfs / Path(directory).relative_to("/")).exists()
    with Session(find_device(board.name)) as session:
        assert session.push(b"something")


def test_setup_finds_wheels_for_the_board(board, tmp_path):
    with Session(find_device(board.name)) as session:
        wheels = fetch(["pip", "tflite-runtime", "numpy<2"], session.machine, tmp_path)
    assert {wheel.name.split("-")[0] for wheel in wheels} == {"pip", "tflite_runtime", "numpy"}


def edgefer_command(*arguments, check=False):
    return subprocess.run([sys.executable, "-m", "edgefer", *arguments], capture_output=True, text=True, check=check)
