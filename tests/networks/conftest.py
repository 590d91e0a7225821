import pytest

import edgefer


@pytest.fixture(scope="session")
def convert(tmp_path_factory):
    """Converts into a directory, and with a cache, that is the test session's."""
    folder = tmp_path_factory.mktemp("networks")

    def run(model, name, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEFER_HOME", str(folder / "home"))
            return edgefer.convert(model, folder / name, **options)

    return run
