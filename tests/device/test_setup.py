"""Preparing a board, and telling what it lacks."""

from pathlib import Path

import pytest

from edgefer.device import setup
from edgefer.device.checks import examine_device
from edgefer.device.setup import check_platform, fetch, set_up
from edgefer.device.target import Device
from edgefer.errors import DeviceError, EdgeferError, UsageError

PI = {"bits": 64, "machine": "aarch64", "python": "3.11.2", "libc": "glibc 2.36"}


@pytest.mark.parametrize("machine", [{"bits": 32, "machine": "armv7l"}, {"bits": 32}, {"machine": "riscv64"}])
def test_a_userland_without_wheels_is_told_clearly(machine):
    with pytest.raises(DeviceError, match="no wheels") as caught:
        check_platform(Device("pi", "h"), {**PI, **machine})
    assert "64-bit edition" in caught.value.remedy


@pytest.mark.parametrize("python", ["3.8.10", "2.7.18", "3.14.0"])
def test_a_python_without_wheels_is_told_clearly(python):
    with pytest.raises(DeviceError, match=rf"its Python is {python}"):
        check_platform(Device("pi", "h"), {**PI, "python": python})


@pytest.mark.parametrize("minor", range(9, 14))
def test_wheels_are_wanted_for_the_board_and_not_for_this_machine(minor, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(setup, "run_logged", lambda command, *args, **kwargs: commands.append(command))
    fetch(["numpy"], {**PI, "python": f"3.{minor}.1"}, tmp_path)
    assert {"manylinux_2_36_aarch64", "manylinux2014_aarch64", f"cp3{minor}", f"3.{minor}"} <= set(commands[0])
    assert "manylinux_2_37_aarch64" not in commands[0]


def test_wheels_that_cannot_be_fetched_are_a_failure_of_the_board(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise EdgeferError("wheels: failed", remedy="| no network")

    monkeypatch.setattr(setup, "run_logged", fail)
    with pytest.raises(DeviceError) as caught:
        fetch(["numpy"], PI, tmp_path)
    assert (caught.value.exit_code, caught.value.remedy) == (4, "| no network")


def test_this_machine_needs_no_setup():
    with pytest.raises(UsageError, match="needs no setup"):
        set_up(Device("local"))


def test_a_runtime_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="no runtime 'tensorrt'"):
        set_up(Device("pi", "h"), ["tensorrt"])


def test_an_environment_that_cannot_be_made_leaves_nothing(board, kept, monkeypatch):
    """pip's own stands in for the wheels of a runtime, which are hundreds of megabytes."""

    def bring(requirements, machine, folder):
        pip(folder)
        return sorted(folder.glob("*.whl"))

    monkeypatch.setattr(setup, "fetch", bring)
    monkeypatch.setattr(setup, "RUNTIMES", {"pip": ("pip",)})
    monkeypatch.setattr(setup, "check_platform", lambda device, machine: None)
    device = board()
    with pytest.raises(DeviceError, match="environment could not be made"):
        set_up(device, ["pip"])  # numpy is not among the wheels
    assert {path.name for path in kept.iterdir()} == {"files"}


def test_a_board_that_lacks_nothing_is_healthy(board):
    findings = {finding.name: finding for finding in examine_device(board())}
    assert {"connection", "python", "numpy", "ai-edge-litert", "onnxruntime", "CPU lists", "room"} <= findings.keys()
    assert {findings[name].status for name in ("connection", "numpy", "onnxruntime", "room")} == {"ok"}
    assert all(bool(finding.remedy) == (finding.status != "ok") for finding in findings.values())


def test_a_board_that_cannot_be_reached_is_a_finding(board):
    findings = list(examine_device(board(fault="sys.exit(255)")))
    assert [finding.status for finding in findings] == ["missing"]
    assert findings[0].remedy


def pip(folder):
    """This machine's pip as a wheel."""
    import zipfile

    import pip as installed

    root = Path(installed.__file__).parent.parent
    dist_info = next(root.glob("pip-*.dist-info"))
    with zipfile.ZipFile(folder / f"{dist_info.name.removesuffix('.dist-info')}-py3-none-any.whl", "w") as wheel:
        for path in (*(root / "pip").rglob("*.py"), *(root / "pip").rglob("*.pem"), *dist_info.iterdir()):
            wheel.write(path, path.relative_to(root)) if path.is_file() else None
