"""Bundles to package: the bundled network's, and a small one with three heads."""

import shutil
import subprocess

import pytest

import edgefer
from tests.evaluation.conftest import tiny  # noqa: F401  a fixture


@pytest.fixture(scope="session")
def fer_b0(tmp_path_factory):
    """A bundle of the bundled network, which knows faces."""
    folder = tmp_path_factory.mktemp("fer_b0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        return edgefer.convert("fer_b0", folder / "bundle", samples=16)


@pytest.fixture(scope="session")
def unpacked(fer_b0, tmp_path_factory):
    """The package of that network, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    made = edgefer.package(fer_b0, folder / "app.zip")
    shutil.unpack_archive(made.path, folder / "app")
    return folder / "app"


@pytest.fixture
def keys(tmp_path):
    """Two key pairs of OpenSSH: `maker` and `other`, with `.pub` behind them."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    for name in ("maker", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    return tmp_path
