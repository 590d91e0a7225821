"""The composite action's steps, run as a runner would: bash, with inputs in the environment."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conversion.files import write_network
from tests.evaluation.tiny import EXPRESSIONS, faces

ACTION = yaml.safe_load((Path(__file__).resolve().parents[2] / "action.yml").read_text("utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


@pytest.fixture
def run(tmp_path, edgefer_home):
    """Runs all steps but the installation; returns the last exit code."""

    def action(**inputs):
        given = {name: str(inputs.get(name, entry.get("default", ""))) for name, entry in ACTION["inputs"].items()}
        for name in ("Convert", "Evaluate", "Check"):
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", STEPS[name]["run"]],
                cwd=tmp_path,
                env={
                    **os.environ,
                    **{key: _filled(value, given) for key, value in STEPS[name]["env"].items()},
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "GITHUB_ACTIONS": "true",
                    "GITHUB_OUTPUT": str(tmp_path / "output"),
                    "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
                },
                capture_output=True,
                text=True,
            )
            if done.returncode:
                break
        return done

    return action


@pytest.fixture
def images(tmp_path):
    """Images to calibrate and to evaluate on."""
    np.savez(tmp_path / "some.npz", images=faces(40, seed=9))
    np.savez(tmp_path / "data.npz", images=faces(60), labels=np.arange(60) % 4, label_names=np.array(EXPRESSIONS))
    write_network(tmp_path / "tiny.onnx")
    return {"model": "tiny.onnx", "calibration": "some.npz", "data": "data.npz"}


def test_no_input_reaches_a_shell_but_through_the_environment():
    for step in STEPS.values():
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        for value in step["env"].values():
            (source,) = re.findall(r"^\$\{\{ (?:inputs\.(\w+)|github\.action_path) \}\}$", value)
            assert not source or source in ACTION["inputs"]


def test_every_output_is_one_that_a_step_writes():
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.check.outputs.{name} }}}}"
        assert f'echo "{name}=' in STEPS["Check"]["run"]


def test_a_run_converts_evaluates_checks_and_comments(run, images, tmp_path):
    (tmp_path / "gates.toml").write_text('schema = "edgefer.gates/1"\n[gate.size]\nat_most = "1 MB"\n')
    done = run(**images, gates="gates.toml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == "outcome=pass\ncomment=edgefer-results/comment.md\n"
    comment = (tmp_path / "edgefer-results" / "comment.md").read_text()
    assert "tiny: gates passed" in comment
    assert "top-1 accuracy" in comment
    assert (tmp_path / "summary").read_text() == comment
    assert ET.parse(tmp_path / "edgefer-results" / "check.xml").getroot().get("failures") == "0"


def test_a_failed_gate_fails_the_step_and_is_annotated(run, images, tmp_path):
    (tmp_path / "my gates.toml").write_text('schema = "edgefer.gates/1"\n[gate.size]\nat_most = "100 B"\n')
    done = run(**images, gates="my gates.toml")
    assert done.returncode == 1
    assert "::error title=edgefer%3A size::size on onnx" in done.stdout
    assert "outcome=fail" in (tmp_path / "output").read_text()


def _filled(value, given):
    return re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda match: given[match[1]], value)
