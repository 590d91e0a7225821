import subprocess
import sys

import pytest

TESTS = """
import numpy as np
import pytest

@pytest.mark.edgefer
def test_the_bundle_is_open(edgefer_bundle):
    assert edgefer_bundle.name == "tiny"

def test_every_artifact_answers(edgefer_model):
    assert edgefer_model(np.zeros((20, 24), np.uint8))["expression"].top in ("angry", "happy", "neutral", "sad")

def test_something_else():
    pass
"""


@pytest.fixture
def run(tmp_path):
    """Runs pytest with the plugin on tests of a user."""
    (tmp_path / "test_mine.py").write_text(TESTS)

    def pytest_with(*options):
        command = [sys.executable, "-m", "pytest", "-p", "edgefer.pytest_plugin", "--strict-markers", "-rs", "-q"]
        return subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)

    return pytest_with


def test_tests_run_once_for_each_artifact(run, tiny):
    done = run("--edgefer-bundle", str(tiny.path))
    assert "4 passed" in done.stdout, done.stdout


def test_without_a_bundle_tests_of_bundles_are_skipped(run):
    done = run()
    assert "1 passed, 2 skipped" in done.stdout
    assert "needs --edgefer-bundle DIR" in done.stdout


def test_what_is_no_bundle_is_wrong_usage(run, tmp_path):
    done = run("--edgefer-bundle", str(tmp_path))
    assert done.returncode == 4
    assert "not a bundle" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
