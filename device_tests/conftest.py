"""The boards under test: emulated ones, brought up once for all tests, or real ones named by `--device`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgefer import board as emulated
from edgefer.board import CPUS, Board
from edgefer.errors import DeviceError
from edgefer.host.resources import bundled_directory


@dataclass(frozen=True)
class BoardUnderTest:
    """A board, whatever it is made of.

    Attributes:
        name: what `edgefer benchmark --device` takes.
        emulated: what a test may edit of it; None if it is real.
    """

    name: str
    emulated: Board | None

    def __str__(self) -> str:
        return self.name


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgefer")
    group.addoption(
        "--device",
        action="append",
        default=[],
        metavar="USER@HOST[:PORT]",
        help="A real board to test on, or the name of a device; may be repeated. [default: both emulated boards]",
    )
    group.addoption(
        "--require-boards",
        action="store_true",
        help="Fail, instead of skipping, where the emulated boards cannot be brought up.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board" in metafunc.fixturenames:
        metafunc.parametrize(
            "board", metafunc.config.getoption("--device") or list(CPUS), indirect=True, scope="session"
        )


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> BoardUnderTest:
    """Each board under test in turn."""
    if request.param in CPUS:
        there: Board = request.getfixturevalue(request.param.replace("cortex-", "board_"))
        return BoardUnderTest(there.name, there)
    return BoardUnderTest(request.param, None)


@pytest.fixture(scope="session")
def board_a72(request: pytest.FixtureRequest) -> Iterator[Board]:
    """An emulated Raspberry Pi 4."""
    yield from _brought_up("cortex-a72", request.config)


@pytest.fixture(scope="session")
def board_a76(request: pytest.FixtureRequest) -> Iterator[Board]:
    """An emulated Raspberry Pi 5."""
    yield from _brought_up("cortex-a76", request.config)


@pytest.fixture(scope="session")
def fer_b0(tmp_path_factory: pytest.TempPathFactory):
    """A bundle of the bundled network."""
    bundle = tmp_path_factory.mktemp("bundle") / "fer_b0"
    subprocess.run([sys.executable, "-m", "edgefer", "convert", "--samples", "128", "-o", bundle, "-q"], check=True)
    return bundle


@pytest.fixture(scope="session")
def faces() -> Path:
    """Images that the bundled network was not calibrated on."""
    return bundled_directory("calibration") / "fer_b0_synthetic" / "held_back.npz"


def _brought_up(cpu: str, config: pytest.Config) -> Iterator[Board]:
    name = f"test-{cpu.removeprefix('cortex-')}-{os.getpid()}"
    try:
        there = emulated.up(cpu, name)
    except DeviceError as error:
        if config.getoption("--require-boards"):
            raise
        pytest.skip(f"no emulated {cpu} here: {error}")
    yield there
    emulated.down(name)
