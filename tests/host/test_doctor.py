from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgefer.cli.doctor import doctor as command
from edgefer.host import doctor
from edgefer.host.doctor import Finding, check_cpu_lists, check_int8_instructions, check_package, check_room, examine
from edgefer.host.environments import ONNX2TF, Environment


@pytest.fixture
def run(monkeypatch):
    """Run `edgefer doctor` with these findings instead of this machine's."""

    def invoke(findings, *arguments):
        monkeypatch.setattr(doctor, "checks", lambda: [partial(lambda f: f, finding) for finding in findings])
        return CliRunner().invoke(command, arguments, standalone_mode=False)

    return invoke


def test_every_finding_that_is_not_ok_says_what_to_do():
    findings = tuple(examine())
    assert {"python", "onnxruntime", "ai-edge-litert", "onnx2tf environment", "CPU lists"} <= {f.name for f in findings}
    assert all(bool(finding.remedy) == (finding.status != "ok") for finding in findings)


def test_the_packages_that_these_tests_run_with_are_found():
    assert {f.name: f.status for f in examine() if f.name in doctor.RUNTIMES} == dict.fromkeys(doctor.RUNTIMES, "ok")


def test_all_that_a_plain_install_brings_is_looked_for_and_nothing_else():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]} == doctor.RUNTIMES.keys()


def test_a_package_that_is_not_installed_is_missing():
    finding = check_package("no-such-thing", "no_such_thing")
    assert (finding.status, finding.optional) == ("missing", False)
    assert "pip install" in finding.remedy


def test_a_package_that_does_not_import_is_missing_and_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise ImportError('libGL.so.1 not found')", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = check_package("broken-library", "broken_library")
    assert finding.status == "missing"
    assert "libGL.so.1 not found" in finding.detail


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("flags\t\t: sse4_2 avx2 avx512f avx512bw", "no VNNI: ONNX Runtime is"),
        ("flags\t\t: sse4_2 avx2 avx_vnni", "avx_vnni: ONNX Runtime is"),
        ("Features\t: fp asimd asimddp", "asimddp: ONNX Runtime is"),
        ("Features\t: fp asimd", "NEON without dot product"),
        ("vendor_id\t: none", "does not tell: ONNX Runtime is"),
    ],
)
def test_the_cpu_is_judged_by_its_int8_instructions_and_by_its_sums(tmp_path, monkeypatch, flags, words):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n", "utf-8")
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "cpuinfo")
    for saturate, told in ((True, "with session.x64quantprecision=1, which edgefer sets"), (False, "as it is")):
        monkeypatch.setattr(doctor, "sums_saturate", lambda saturate=saturate: saturate)
        finding = check_int8_instructions()
        assert finding.status == "ok"
        assert words in finding.detail
        assert told in finding.detail


def test_cpu_lists_that_litert_cannot_read_are_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CPU_LISTS", tmp_path)
    (tmp_path / "possible").write_text("0-1\n", "ascii")
    finding = check_cpu_lists()
    assert finding.status == "warn"
    assert "present" in finding.detail
    assert "possible" not in finding.detail
    (tmp_path / "present").write_text("0-1\n", "ascii")
    assert check_cpu_lists().status == "ok"


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "ROOM_BYTES", 10**18)
    assert check_room("cache directory", tmp_path / "not" / "there").status == "warn"


def test_an_outdated_environment_is_missing_but_optional(monkeypatch):
    monkeypatch.setattr(Environment, "state", "outdated")
    finding = doctor.check_environment(ONNX2TF)
    assert (finding.status, finding.optional, finding.remedy) == ("missing", True, "edgefer doctor --install onnx2tf")


def test_what_is_optional_may_be_missing(run):
    result = run([Finding("torch", "missing", "not installed", "pip install it", optional=True)])
    assert result.return_value == 0
    assert "-> pip install it" in result.output


def test_something_necessary_missing_ends_with_exit_code_1(run):
    assert run([Finding("onnx", "missing", "no module", "pip install it")]).return_value == 1


def test_the_findings_can_be_had_as_json(run):
    result = run([Finding("python", "ok", "3.11.7"), Finding("cpu", "warn", "old", "buy one")], "--json", "-")
    document = json.loads(result.output)
    assert (document["schema"], document["healthy"]) == ("edgefer.doctor/1", True)
    assert document["findings"][1] == {
        "name": "cpu", "status": "warn", "detail": "old", "remedy": "buy one", "optional": False,
    }  # fmt: skip


def test_install_makes_the_environment_before_looking(run, monkeypatch):
    made = []
    monkeypatch.setattr(Environment, "install", lambda self, progress: made.append(self.name))
    result = run([Finding("python", "ok", "3.11.7")], "--install", "onnx2tf")
    assert (made, result.return_value) == (["onnx2tf"], 0)


def test_an_unknown_tool_cannot_be_installed(run):
    assert run([], "--install", "onnx3tf").exit_code != 0


def test_it_can_be_asked_where_the_packages_that_it_looks_for_are_missing():
    code = "import sys; sys.modules.update(dict.fromkeys(['numpy', 'onnx', 'onnxruntime'])); import edgefer.host.doctor"
    subprocess.run([sys.executable, "-c", code], check=True)
