"""A pytest plugin: tests of a bundle of your own.

pytest --edgefer-bundle out

@pytest.mark.edgefer                     # skipped where no bundle is given
def test_a_smile_is_happy(edgefer_model):  # once for each int8 artifact
    assert edgefer_model(image)["expression"].top == "happy"
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgefer import Bundle, Model

_BUNDLE: pytest.StashKey[Bundle] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --edgefer-bundle."""
    parser.getgroup("edgefer").addoption(
        "--edgefer-bundle", type=Path, metavar="DIR", help="the bundle that tests marked `edgefer` are about"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and open the bundle."""
    config.addinivalue_line("markers", "edgefer: needs --edgefer-bundle DIR; skipped without")
    if path := config.getoption("--edgefer-bundle"):
        from edgefer import Bundle, EdgeferError

        try:
            config.stash[_BUNDLE] = Bundle.open(path)
        except EdgeferError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a bundle where there is none."""
    if _BUNDLE not in config.stash:
        for item in items:
            if item.get_closest_marker("edgefer") or "edgefer_bundle" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="needs --edgefer-bundle DIR"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of `edgefer_model` once for each int8 artifact."""
    if "edgefer_model" in metafunc.fixturenames:
        bundle = metafunc.config.stash.get(_BUNDLE, None)
        formats = [a.format for a in bundle.artifacts if not a.is_reference] if bundle else ["none"]
        metafunc.parametrize("edgefer_model", formats, indirect=True)


@pytest.fixture(scope="session")
def edgefer_bundle(pytestconfig: pytest.Config) -> Bundle:
    """The bundle, opened and verified."""
    return pytestconfig.stash[_BUNDLE]


@pytest.fixture(scope="session")
def edgefer_model(request: pytest.FixtureRequest, edgefer_bundle: Bundle) -> Model:
    """An int8 artifact, ready to run."""
    from edgefer import load

    return load(edgefer_bundle.path, format=request.param)
