"""Prepare a board: a virtual environment with numpy and runtimes, from wheels that are fetched here or by the board."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefer.device.session import Session
from edgefer.device.target import Device
from edgefer.errors import DeviceError, EdgeferError, UsageError
from edgefer.host.environments import run_logged
from edgefer.host.progress import SILENT, Progress

RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "ai-edge-litert": ("ai-edge-litert",),
    "onnxruntime": ("onnxruntime",),
    "tflite-runtime": ("tflite-runtime", "numpy<2"),
}
"""What can be installed, and what pip is asked for."""
DEFAULT = ("ai-edge-litert", "onnxruntime")
FETCH_TIMEOUT_S = 1800.0
SERIES = range(9, 14)


def set_up(
    device: Device, runtimes: Sequence[str] = DEFAULT, *, online: bool = False, progress: Progress = SILENT
) -> Mapping[str, Any]:
    """Make, or make afresh, the virtual environment that `benchmark` uses on a device.

    Args:
        device: a board; this machine has edgefer's own environment.
        runtimes: keys of `RUNTIMES`.
        online: let the board's pip fetch the wheels, rather than fetch them here and bring them.
        progress: hears of the steps.

    Returns:
        What the device says of itself afterwards.

    Raises:
        UsageError: there is no such runtime, or the device is this machine.
        DeviceError: the board cannot be reached, or there are no wheels for it.
    """
    if not device.host:
        raise UsageError("this machine needs no setup: it uses edgefer's own environment")
    if unknown := sorted(set(runtimes) - RUNTIMES.keys()):
        raise UsageError(f"no runtime {unknown[0]!r} (there are: {', '.join(RUNTIMES)})")
    wanted = ["numpy", *(requirement for runtime in runtimes for requirement in RUNTIMES[runtime])]
    with Session(device) as session, tempfile.TemporaryDirectory(prefix="edgefer-") as scratch:
        check_platform(device, session.machine)
        with progress.stage("fetch wheels"):
            wheels = fetch(["pip", *([] if online else wanted)], session.machine, Path(scratch))
        pip = next(wheel.name for wheel in wheels if wheel.name.startswith("pip-"))
        with progress.stage("bring wheels", len(wheels)) as advance:
            brought = []
            for wheel in wheels:
                brought.append({"name": wheel.name, "sha256": session.push(wheel.read_bytes())})
                advance()
        with progress.stage("install"):
            session.request("install", wheels=brought, pip=pip, requirements=wanted, online=online)
    with Session(replace(device, python="")) as session:
        machine: Mapping[str, Any] = session.machine
        return machine


def check_platform(device: Device, machine: Mapping[str, Any]) -> None:
    """Refuse what there are no wheels for, before anything is fetched.

    Raises:
        DeviceError: 32 bits, another processor, or a Python too old or too new.
    """
    if machine["bits"] == 32 or machine["machine"] not in ("aarch64", "x86_64"):
        raise DeviceError(
            f"{device.name}: there are no wheels of the runtimes for its {machine['bits']}-bit "
            f"{machine['machine']} userland",
            remedy="Install the 64-bit edition of the system (aarch64); Raspberry Pi 3 and later run it.",
        )
    if not (series := _series(machine)) or series[0] != 3 or series[1] not in SERIES:
        raise DeviceError(
            f"{device.name}: its Python is {machine['python']}; there are runtimes for 3.{SERIES[0]} to 3.{SERIES[-1]}",
            remedy=f"Install one of these there, and name it: edgefer devices add {device.name} ... --python PATH.",
        )


def fetch(requirements: Sequence[str], machine: Mapping[str, Any], folder: Path) -> list[Path]:
    """Download wheels that fit a machine into a folder.

    Raises:
        DeviceError: pip finds none; its last words are in the remedy.
    """
    major, minor = _series(machine)
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", f"{major}.{minor}"]
    for abi in (f"cp{major}{minor}", "abi3", "none"):
        options += ["--abi", abi]
    for platform in _platforms(machine):
        options += ["--platform", platform]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "download",
        "--dest",
        folder,
    ]
    try:
        run_logged(
            [*command, *options, *requirements],
            f"wheels for {machine['machine']}, Python {major}.{minor}",
            cwd=folder,
            environ=os.environ,
            timeout_s=FETCH_TIMEOUT_S,
        )
    except EdgeferError as error:
        raise DeviceError(error.message, remedy=error.remedy) from error
    return sorted(folder.glob("*.whl"))


def _platforms(machine: Mapping[str, Any]) -> Iterator[str]:
    """The wheel tags that a machine's C library satisfies, the newest first."""
    found = re.fullmatch(r"glibc 2\.(\d+)", machine["libc"])
    for minor in range(int(found[1]) if found else 17, 16, -1):
        yield f"manylinux_2_{minor}_{machine['machine']}"
    yield f"manylinux2014_{machine['machine']}"


def _series(machine: Mapping[str, Any]) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", machine["python"])[:2]
    return int(major), int(minor)
