import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from edgefer.cli.main import main
from tests.gates.files import expressions, make_bundle, schema, write_benchmark, write_evaluation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `edgefer check`: exit code, standard output, standard error."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["check", *map(str, arguments)])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return command


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path)


@pytest.fixture
def heavier(tmp_path):
    return make_bundle(tmp_path, sizes=(4_000_000, 4_100_000))


@pytest.fixture
def baseline(run, bundle, tmp_path):
    evaluation = write_evaluation(bundle, expressions())
    code, out, err = run(
        bundle.path, "--evaluation", evaluation, "--baseline", tmp_path / "baseline.json", "--update-baseline"
    )
    assert code == 0, out
    assert "baseline.json: written" in err
    return tmp_path / "baseline.json"


def test_the_bundle_that_was_accepted_passes(run, bundle, baseline):
    evaluation = write_evaluation(bundle, expressions())
    code, out, _ = run(bundle.path, "--evaluation", evaluation, "--baseline", baseline)
    assert code == 0
    assert "net: gates passed" in out
    assert "bounds did not apply: -v lists them" in out


def test_accepting_twice_writes_the_same_bytes(run, bundle, baseline):
    before = baseline.read_bytes()
    run(
        bundle.path,
        "--evaluation",
        write_evaluation(bundle, expressions()),
        "--baseline",
        baseline,
        "--update-baseline",
    )
    assert baseline.read_bytes() == before


def test_a_failed_gate_ends_with_1_is_named_and_written_everywhere(run, heavier, baseline, tmp_path):
    files = {option: tmp_path / f"out.{option}" for option in ("json", "junit", "markdown")}
    options = [part for option, file in files.items() for part in (f"--{option}", file)]
    evaluation = write_evaluation(heavier, expressions())
    code, out, _ = run(heavier.path, "--evaluation", evaluation, "--baseline", baseline, *options)
    assert code == 1
    assert "size on onnx: 4.00 MB to 4.10 MB: +2.50 %; at most 1 % more than the baseline: beyond the bound" in out
    document = json.loads(files["json"].read_text())
    jsonschema.validate(document, schema("check"))
    assert document["outcome"] == "fail"
    assert ET.parse(files["junit"]).getroot().get("failures") == "1"
    assert files["markdown"].read_text().startswith("### ❌ net: gates failed")


def test_missing_evidence_ends_with_5_and_says_what_to_give(run, bundle, baseline):
    code, out, _ = run(bundle.path, "--baseline", baseline)
    assert code == 5
    assert "give --evaluation" in out


def test_on_github_failures_become_annotations(run, heavier, baseline, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, out, _ = run(heavier.path, "--baseline", baseline)
    assert "::error title=edgefer%3A size::size on onnx" in out
    assert "::warning title=edgefer%3A accuracy::" in out
    _, out, err = run(heavier.path, "--baseline", baseline, "--json", "-")
    assert json.loads(out)["outcome"] == "fail"
    assert "::error" in err


def test_quiet_prints_nothing(run, bundle, baseline):
    assert run(bundle.path, "--baseline", baseline, "-q")[1:] == ("", "")


def test_a_baseline_that_is_not_there_yet_says_how_to_make_it(run, bundle, tmp_path):
    code, _, err = run(bundle.path, "--baseline", tmp_path / "none.json")
    assert code == 2
    assert "none.json: there is no baseline yet" in err
    assert "--update-baseline" in err


def test_update_needs_to_know_where(run, bundle):
    code, _, err = run(bundle.path, "--update-baseline")
    assert code == 2
    assert "goes with --baseline FILE" in err


def test_a_bundle_alone_can_be_accepted_and_what_the_baseline_lacks_is_told(run, bundle, tmp_path):
    code, _, err = run(bundle.path, "--baseline", tmp_path / "b.json", "--update-baseline")
    assert code == 0
    assert "b.json: written" in err
    assert "accept the bundle again with --evaluation" in err
    assert "accept the bundle again with --benchmark" in err
    assert run(bundle.path, "--baseline", tmp_path / "b.json")[0] == 5


def test_what_was_measured_must_tell_before_it_is_accepted(run, bundle, tmp_path):
    evaluation = write_evaluation(bundle, expressions(20, lost=0.1))
    code, _, err = run(bundle.path, "--evaluation", evaluation, "--baseline", tmp_path / "b.json", "--update-baseline")
    assert code == 5
    assert "--benchmark" in err
    assert "with --evaluation" not in err


def test_an_update_that_cannot_be_written_leaves_nothing_behind(run, bundle, tmp_path):
    code, _, err = run(bundle.path, "--baseline", tmp_path / "no" / "baseline.json", "--update-baseline")
    assert code == 3
    assert "cannot be written" in err


def test_several_benchmarks_are_taken(run, bundle, tmp_path):
    runs = [part for seed in range(2) for part in ("--benchmark", write_benchmark(bundle, seed=seed))]
    run(bundle.path, *runs, "--baseline", tmp_path / "b.json", "--update-baseline", "-q")
    kept = json.loads((tmp_path / "b.json").read_text())
    assert len(kept["benchmarks"]["pi4"]["threads"]["1"]["onnx"]["p50_ms"]) == 2


def test_an_altered_bundle_ends_with_3(run, bundle):
    with (bundle.path / "net_int8.onnx").open("ab") as file:
        file.write(b"\0")
    code, _, err = run(bundle.path)
    assert code == 3
    assert "altered since it was made" in err


def test_the_documentation_shows_the_default_gates():
    defaults = (ROOT / "edgefer" / "gates" / "default.toml").read_text("utf-8")
    assert f"```toml\n{defaults}```" in (ROOT / "docs" / "check.md").read_text("utf-8")
