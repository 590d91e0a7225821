import csv
import io
import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgefer.cli.main import main
from tests.evaluation.schema import evaluation_schema
from tests.evaluation.tiny import EXPRESSIONS

LABELS = np.arange(60) % 4
NAMES = np.array(EXPRESSIONS)


@pytest.fixture
def run(capsys):
    """Runs the command line: exit code, standard output, standard error."""

    def command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return command


def test_all_files_are_written_and_the_table_tells_the_story(run, tiny, save, tmp_path):
    data = save(labels=LABELS, label_names=NAMES, clean=LABELS < 2, valence=np.linspace(-1, 1, 60))
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "markdown")}
    options = [part for kind, path in paths.items() for part in (f"--{kind}", path)]
    code, out, _ = run("evaluate", tiny.path, "--data", data, *options, "--max-drop", 60)
    assert code == 0
    for text in ("expression, all images: 60, 60 labelled", "subset clean: 30", "top-1 accuracy", "bounds held"):
        assert text in out
    document = json.loads(paths["json"].read_text())
    jsonschema.validate(document, evaluation_schema())
    assert document["heads"]["affect"]["artifacts"]["onnx"]["targets"] == {"valence": 60, "arousal": 0}
    rows = list(csv.DictReader(io.StringIO(paths["csv"].read_text())))
    assert [row["name"] for row in rows] == [str(index) for index in range(60)]
    assert {"label", "fp32", "fp32_p", "tflite_p", "affect_onnx_valence", "units_tflite_AU12"} <= rows[0].keys()
    assert rows[1]["label"] == "happy"
    right = np.mean([row["onnx"] == row["label"] for row in rows])
    assert right == pytest.approx(document["artifacts"]["onnx"]["accuracy"])
    markdown = paths["markdown"].read_text()
    assert markdown.startswith("### ✅ tiny on faces.npz")
    assert "| top-1 accuracy |" in markdown


def test_the_scores_of_the_abaw_challenges_stand_in_every_file(run, tiny, save, tmp_path):
    rng = np.random.default_rng(0)
    affect = {name: rng.uniform(-1, 1, 60) for name in ("valence", "arousal")}
    units = {"au": rng.integers(0, 2, (60, 3)), "au_columns": np.array(["AU1", "AU12", "AU25"])}
    data = save(labels=LABELS, label_names=NAMES, **affect, **units)
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("json", "markdown", "report")}
    options = [part for kind, path in paths.items() for part in (f"--{kind}", path)]
    code, out, err = run("evaluate", tiny.path, "--data", data, *options, "--max-drop", 60)
    assert code == 0, err
    written = [out, paths["markdown"].read_text().replace("\\", ""), paths["report"].read_text()]
    for title in ("P_EXPR", "P_VA drop", "P_AU", "P_MTL", "P_MTL drop", "thresholds of the other half"):
        assert all(title in text for text in written), title
    document = json.loads(paths["json"].read_text())
    jsonschema.validate(document, evaluation_schema())
    heads, abaw = document["heads"], document["abaw"]
    assert abaw["reference"]["p_va"] == heads["affect"]["reference"]["mean_ccc"]
    onnx = abaw["artifacts"]["onnx"]
    assert onnx["p_mtl"] == pytest.approx(onnx["p_expr"] + onnx["p_va"] + onnx["p_au"])
    assert onnx["p_mtl_drop"]["ci95"][0] <= onnx["p_mtl_drop"]["value"] <= onnx["p_mtl_drop"]["ci95"][1]
    assert heads["units"]["artifacts"]["onnx"]["tuned"]["targets"] == {"AU1": 30, "AU12": 30, "AU25": 30}


def test_too_few_labelled_images_end_with_5_and_say_why(run, tiny, save):
    code, out, _ = run("evaluate", tiny.path, "--data", save(labels=LABELS, label_names=NAMES))
    assert code == 5
    assert "60 labelled images are too few: one is 1.7 points" in out


def test_a_broken_bound_ends_with_1_and_writes_the_evidence_all_the_same(run, tiny, save, tmp_path, monkeypatch):
    monkeypatch.setitem(tiny.manifest, "budget_bytes", 10)
    monkeypatch.setattr("edgefer.bundle.Bundle.open", lambda *_: tiny)
    code, out, _ = run("evaluate", tiny.path, "--data", save(), "--json", tmp_path / "out.json")
    assert code == 1
    assert "bounds broken" in out
    assert "exceeds the budget" in out
    assert json.loads((tmp_path / "out.json").read_text())["verdict"]["held"] is False


def test_json_on_standard_output_stands_alone(run, tiny, save):
    code, out, err = run("evaluate", tiny.path, "--data", save(), "--json", "-")
    assert code == 0
    assert json.loads(out)["samples"] == 60
    assert "run" in err


def test_quiet_prints_nothing(run, tiny, save):
    assert run("evaluate", tiny.path, "--data", save(), "-q") == (0, "", "")


def test_an_altered_bundle_ends_with_3(run, tiny, save, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "altered")
    with (tmp_path / "altered" / "tiny_int8.onnx").open("ab") as file:
        file.write(b"\0")
    code, _, err = run("evaluate", tmp_path / "altered", "--data", save())
    assert code == 3
    assert "tiny_int8.onnx: altered since it was made" in err


def test_an_interruption_ends_with_5_and_says_that_it_can_go_on(run, tiny, save, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgefer.images.ImageSet.read", interrupt)
    code, _, err = run("evaluate", tiny.path, "--data", save())
    assert code == 5
    assert "the same command goes on from there" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here is always full")
def test_where_results_cannot_be_written_the_images_done_are_kept(run, tiny, save, monkeypatch):
    data = save()
    assert run("evaluate", tiny.path, "--data", data, "--json", "/dev/full")[0] == 3
    monkeypatch.setattr("edgefer.evaluation.shards.open_runner", None)  # nothing is run again
    code, _, err = run("evaluate", tiny.path, "--data", data)
    assert code == 0 and "60 of 60 images were done before" in err


def test_no_data_is_wrong_usage(run, tiny):
    code, _, err = run("evaluate", tiny.path)
    assert code == 2
    assert "--data" in err


def test_a_file_that_cannot_be_written_is_named(run, tiny, save, tmp_path):
    code, _, err = run("evaluate", tiny.path, "--data", save(), "--csv", tmp_path / "no" / "out.csv")
    assert code == 3
    assert "out.csv: cannot be written" in err


def test_markup_in_names_does_not_break_the_markdown_table(run, tiny, save, tmp_path):
    source = save(labels=LABELS, label_names=NAMES)
    odd = source.rename(source.with_name("a|b<c>.npz"))
    run("evaluate", tiny.path, "--data", odd, "--markdown", tmp_path / "out.md")
    title, *_ = (tmp_path / "out.md").read_text().splitlines()
    assert title.endswith(r"tiny on a\|b\<c>.npz")
