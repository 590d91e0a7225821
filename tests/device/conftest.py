"""A board that is this machine behind a program called ssh, and a small bundle to run on it."""

import os

import numpy as np
import pytest

from edgefer.device import Device
from tests.device import fake_ssh
from tests.evaluation.conftest import tiny  # noqa: F401
from tests.evaluation.tiny import EXPRESSIONS, faces


@pytest.fixture
def board(tmp_path, monkeypatch):
    """Installs the program with a fault, and returns the device behind it."""

    def make(**faults):
        fake_ssh.install(tmp_path / "bin", tmp_path / "board", **faults)
        return Device("pi", "board", "pi")

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return make


@pytest.fixture
def kept(tmp_path):
    """The one directory on the board that anything is written to."""
    return tmp_path / "board" / ".cache" / "edgefer-agent"


@pytest.fixture
def data(tmp_path):
    """A set of 40 labelled faces."""
    path = tmp_path / "faces.npz"
    np.savez(path, images=faces(40), labels=np.arange(40) % 4, label_names=np.array(EXPRESSIONS))
    return path
