"""What all tests share: caches of their own, and the network and data that only the authors' machines have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import edgefer
from edgefer.bundle import Bundle

settings.register_profile("edgefer", deadline=None)  # machines that test are slow at times
settings.load_profile("edgefer")

MEASURED = r"""
import pathlib, re, sys, edgefer
edgefer.convert(sys.argv[1], sys.argv[2], calibration=sys.argv[3], samples=int(sys.argv[4]))
status = pathlib.Path("/proc/self/status").read_text()  # getrusage would count what the parent had when it forked
print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
"""
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def edgefer_home(tmp_path_factory, monkeypatch):
    """A home for caches and environments that is not the user's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EDGEFER_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared():
    """The directory of trained networks and faces; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the trained networks and faces of {SHARED}, which are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def convert_apart(tmp_path_factory):
    """Converts in a process of its own, which has no caches; returns the bundle, and bytes of memory at its peak."""

    def run(model, calibration, samples):
        folder = tmp_path_factory.mktemp("apart")
        home = {**os.environ, "EDGEFER_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", MEASURED, model, folder / "bundle", calibration, str(samples)]
        done = subprocess.run(command, env=home, check=True, stdout=subprocess.PIPE, text=True)
        return Bundle.open(folder / "bundle"), int(done.stdout)

    return run


@pytest.fixture(scope="session")
def converted_fer_b0(shared, convert_apart):
    """The network trained on FER2013, and what memory its conversion took."""
    return convert_apart(shared / "models" / "fer_b0.onnx", shared / "data" / "fer2013_calibration.npz", 512)


@pytest.fixture(scope="session")
def fer2013(converted_fer_b0, shared, tmp_path_factory):
    """The evaluation of that network on all 3,589 images of the public test set."""
    bundle, _ = converted_fer_b0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(tmp_path_factory.mktemp("home")))
        return edgefer.evaluate(bundle, shared / "data" / "fer2013_public.npz")
