"""What all tests share: caches of their own, and the data that only the authors' machines have."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("edgefer", deadline=None)  # machines that test are slow at times
settings.load_profile("edgefer")

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
