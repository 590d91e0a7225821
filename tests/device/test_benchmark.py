"""`edgefer benchmark` on this machine, and on a board that is this machine behind a program called ssh."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

import edgefer
from edgefer.board.instructions import CLASSES
from edgefer.cli.benchmark import benchmark as command
from edgefer.device.operator_costs import read_operator_costs
from edgefer.device.registry import add_device
from edgefer.device.results import Settings
from edgefer.device.session import Session
from edgefer.device.workload import prepare
from edgefer.errors import DeviceError, InputError, UsageError
from edgefer.host.progress import Silent
from edgefer.images import open_images

FEW = Settings(frames=12, seconds=0.0, warmup=1)
VCGENCMD = "#!/bin/sh\necho throttled=0x4\n"
ARMSTAT = """\
#!{python}
import json, os, subprocess, sys
code = subprocess.run(sys.argv[1:], env={{**os.environ, "UNDER": "armstat"}}).returncode
with open(os.environ["INSN_OUT"], "w") as out:
    for k in range(5):
        print(json.dumps({{"mark": "snapshot", "k": k, **{{name: 100 * k for name in {classes}}}}}), file=out)
sys.exit(code)
"""


def run(bundle, *arguments):
    return CliRunner().invoke(command, [str(bundle.path), *arguments], standalone_mode=False)


@pytest.fixture
def programs(tmp_path):
    """Puts a program on the board's path; returns the fault that does so."""

    def install(name, text):
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        return f'os.environ["PATH"] = {str(folder)!r} + ":" + os.environ["PATH"]'

    return install


@pytest.fixture
def modules(tmp_path):
    """Puts Python modules before the board's own; returns the fault that does so."""

    def install(**sources):
        for name, source in sources.items():
            folder = tmp_path / "modules" / name
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(source)
        return f'os.environ["PYTHONPATH"] = {str(tmp_path / "modules")!r}'

    return install


def absent(name):
    return f"raise ModuleNotFoundError('No module named {name}', name={name!r})"


@pytest.fixture(scope="module")
def here(tiny, tmp_path_factory):
    """The whole command on this machine: its exit code, output and document."""
    folder = tmp_path_factory.mktemp("here")
    faces = np.random.default_rng(0).integers(0, 256, (70, 20, 24), np.uint8)
    np.savez(folder / "faces.npz", images=faces, labels=np.arange(70) % 2, label_names=np.array(["angry", "happy"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(folder / "home"))
        options = (
            "--frames",
            "12",
            "--quick",
            "--threads",
            "1,2",
            "--data",
            str(folder / "faces.npz"),
            "--throughput",
            "--duration",
            "2s",
        )
        files = ("--json", str(folder / "out.json"), "--report", str(folder / "out.html"))
        result = run(tiny, *options, *files)
    return result, json.loads((folder / "out.json").read_text()), (folder / "out.html").read_text()


def validate(document):
    schema = json.loads(files("edgefer").joinpath("schemas", "benchmark-1.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_document_is_of_the_published_schema(here):
    validate(here[1])


def test_all_artifacts_are_timed_and_raw_samples_kept(here, tiny):
    artifacts = here[1]["runs"][0]["artifacts"]
    assert list(artifacts) == [artifact.file for artifact in tiny.artifacts]
    for artifact in artifacts.values():
        assert len(artifact["invoke_ms"]["samples"]) == len(artifact["preprocess_ms"]["samples"]) == 12
        assert artifact["invoke_ms"]["min"] <= artifact["invoke_ms"]["p50"] <= artifact["invoke_ms"]["p99"]
        assert [timing["threads"] for timing in artifact["sweep"]] == [2]
        assert artifact["peak_rss_bytes"] > 10_000_000


def test_frames_per_second_are_told_of_one_stream_and_of_several(here):
    for artifact in here[1]["runs"][0]["artifacts"].values():
        streams = artifact["throughput"]["streams"]
        tried = [(each["batch"], each["threads"], each["instances"]) for each in streams]
        assert tried[:3] == [(1, 1, 1), (1, 1, 2), (1, 1, 4)]
        for each in streams:
            assert each["frames"] >= each["instances"]
            assert each["fps"] == pytest.approx(each["frames"] / each["duration_s"])
            assert 0 < each["latency_ms"]["p50"] <= each["latency_ms"]["p90"] <= each["latency_ms"]["p99"]
        assert streams[2]["peak_rss_bytes"] > streams[0]["peak_rss_bytes"]
    assert "4 side by side" in here[0].output
    assert "Waiting time by frames per second" in here[2]


def test_a_sustained_run_is_in_the_document_and_the_table(here):
    found = here[1]["runs"][0]["sustained"]
    assert found["lasted_s"] >= found["asked_s"] == 2
    assert 10 < len(found["windows"]) <= 90
    for window in found["windows"]:
        assert list(window["artifacts"]) == list(here[1]["runs"][0]["artifacts"])
    assert "in turns, p50, ms" in here[0].output
    assert "rank at the start, the end" in here[0].output


def test_this_machine_computes_what_it_computes(here):
    for artifact in here[1]["runs"][0]["artifacts"].values():
        heads = artifact["drift"]["heads"].values()
        assert [head["host"]["identical"] for head in heads] == [1.0] * 3
        assert all(head["lsb"] is None or head["lsb"]["max"] == 0 for head in heads)


def test_drift_and_accuracy_are_those_of_an_evaluation(here, tiny, tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (70, 20, 24), np.uint8)
    np.savez(tmp_path / "f.npz", images=faces, labels=np.arange(70) % 2, label_names=np.array(["angry", "happy"]))
    evaluated = edgefer.evaluate(tiny, tmp_path / "f.npz", layer_images=0).to_dict()
    for artifact in here[1]["runs"][0]["artifacts"].values():
        if artifact["precision"] == "int8":
            expected = evaluated["artifacts"][artifact["format"]]
            shared = ("accuracy", "accuracy_drop", "agreement", "kl", "flips_per_class", "sqnr_db")
            assert {key: artifact["drift"][key] for key in shared} == {key: expected[key] for key in shared}


def test_labels_of_other_classes_are_told_and_boards_compared_all_the_same(tiny, tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (4, 20, 24), np.uint8)
    np.savez(tmp_path / "f.npz", images=faces, labels=np.arange(4) % 2, label_names=np.array(["cat", "dog"]))
    heard = []
    progress = Silent()
    progress.note = heard.append
    workload = prepare(tiny, open_images(tmp_path / "f.npz"), 4, ["onnx"], progress)
    assert workload.targets.heads["expression"].classes is None
    assert len(heard) == 1 and "none of its classes (cat, dog)" in heard[0]


def test_the_table_names_every_artifact_and_the_verdict(here):
    assert "TFLite int8" in here[0].output
    assert here[1]["runs"][0]["verdict"]["status"] in here[0].output
    assert here[0].return_value == (0 if here[1]["runs"][0]["verdict"]["status"] == "trusted" else 5)


def test_images_that_mean_nothing_give_no_agreement(board, tiny):
    found = edgefer.benchmark(tiny, [board()], settings=FEW, formats=["tflite"]).to_dict()
    drift = found["runs"][0]["artifacts"]["tiny_int8.tflite"]["drift"]
    assert (drift["samples"], drift["agreement"], drift["accuracy"]) == (64, None, None)
    assert drift["lsb"]["max"] == 0


def test_frames_are_paced_like_a_camera(board, tiny):
    paced = Settings(frames=6, seconds=0.0, warmup=1, fps=50.0)
    found = edgefer.benchmark(tiny, [board()], settings=paced, formats=["tflite"])
    timing = found.runs[0].artifacts["tiny_int8.tflite"].timing
    assert timing.duration_s >= 5 / 50
    assert 0 <= timing.late_frames <= 5


def test_several_boards_are_measured_and_one_that_fails_spoils_no_other(board, tiny):
    board(fault="sys.exit(255)")
    result = run(tiny, "--device", "local", "--device", "nobody@gone", "--frames", "8", "--quick", "--json", "-")
    assert result.return_value == 4
    document = json.loads(result.stdout)
    assert [run["device"]["name"] for run in document["runs"]] == ["local"]
    assert len(document["failures"]) == 1


def test_a_throttled_board_is_no_evidence(board, tiny, programs):
    add_device(board(fault=programs("vcgencmd", VCGENCMD)))
    result = run(tiny, "--device", "pi", "--frames", "8", "--quick")
    assert result.return_value == 5
    assert "throttled" in result.output


def test_a_clock_that_jumps_is_told(board, tiny, modules):
    jumping = "import time; real, begun = time.time, time.monotonic()\n"
    jumping += "time.time = lambda: real() + 3600 * (time.monotonic() - begun)"
    found = edgefer.benchmark(tiny, [board(fault=modules(sitecustomize=jumping))], settings=FEW, formats=["tflite"])
    assert found.runs[0].verdict.status == "noisy"
    assert any("clock was set by +" in reason for reason in found.runs[0].verdict.reasons)


def test_a_board_with_one_runtime_gives_incomplete_evidence(board, tiny, modules):
    add_device(board(fault=modules(onnxruntime=absent("onnxruntime"))))
    result = run(tiny, "--device", "pi", "--frames", "8", "--quick")
    assert result.return_value == 5
    assert "onnxruntime is not installed" in result.output
    assert "TFLite int8" in result.output


def test_a_board_without_any_runtime_is_told_how_to_get_one(board, tiny, modules):
    runtimes = ("onnxruntime", "ai_edge_litert", "tflite_runtime")
    device = board(fault=modules(**{name: absent(name) for name in runtimes}))
    with pytest.raises(DeviceError, match="a runtime is missing") as caught:
        edgefer.benchmark(tiny, [device], settings=FEW)
    assert "edgefer devices setup pi" in caught.value.remedy


def test_a_runtime_that_does_not_import_is_told(board, tiny, modules):
    device = board(fault=modules(ai_edge_litert="raise ImportError('GLIBC_2.38 not found')"))
    with pytest.raises(DeviceError, match="not found"):
        edgefer.benchmark(tiny, [device], settings=FEW, formats=["tflite"])


@pytest.mark.parametrize(
    ("victim", "words"),
    [("os.getpid()", "the measurement was killed"), ("os.getppid()", "connection was lost")],
    ids=["the worker", "the agent"],
)
def test_whoever_is_killed_is_told_and_the_next_run_succeeds(board, tiny, modules, victim, words, kept):
    device = board(fault=modules(ai_edge_litert=f"import os; os.kill({victim}, 9); import time; time.sleep(60)"))
    with pytest.raises(DeviceError, match=words) as caught:
        edgefer.benchmark(tiny, [device], settings=FEW, formats=["tflite"])
    assert caught.value.exit_code == 4
    assert edgefer.benchmark(tiny, [board()], settings=FEW, formats=["tflite"]).runs
    assert {path.name for path in kept.iterdir()} == {"files"}


@pytest.mark.parametrize("answer", [{}, {"runtime": 3}, {"conditions": None}, []])
def test_an_answer_that_makes_no_sense_is_the_boards_failure(board, tiny, monkeypatch, answer):
    ask = Session.request
    monkeypatch.setattr(
        Session,
        "request",
        lambda self, what, *args, **rest: answer if what == "measure" else ask(self, what, *args, **rest),
    )
    with pytest.raises(DeviceError, match="makes no sense"):
        edgefer.benchmark(tiny, [board()], settings=FEW, formats=["tflite"])


def test_instructions_are_counted_where_armstat_is(board, tiny, programs):
    fault = programs("armstat", ARMSTAT.format(python=sys.executable, classes=list(CLASSES)))
    found = edgefer.benchmark(tiny, [board(fault=fault)], settings=FEW, formats=["tflite"], count_instructions=True)
    run = found.runs[0]
    assert run.artifacts["tiny_int8.tflite"].instructions.total == 100 * len(CLASSES)
    assert run.device["emulated"]
    assert "EMULATED" in run.name
    assert run.verdict.status == "trusted"


def test_instructions_cannot_be_counted_on_a_real_board(board, tiny):
    with pytest.raises(DeviceError, match="cannot count instructions"):
        edgefer.benchmark(tiny, [board()], settings=FEW, formats=["tflite"], count_instructions=True)


def test_what_operators_cost_is_measured_and_understood_by_convert(board, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefer.device.operator_costs.ROUNDS", 20)
    add_device(board())
    file = str(tmp_path / "pi.json")
    result = run(tiny, "--device", "pi", "--quick", "--format", "tflite", "--operator-costs", "--json", file)
    assert result.exception is None
    assert "operators, ns" in result.output
    validate(json.loads(Path(file).read_text()))
    costs = read_operator_costs(file)
    assert costs.machine.startswith("pi, ")
    assert costs.lines["Dense", "float"].at(1280, 320 * 1280) > costs.lines["Sigmoid", "int8"].at(32, 0)


def test_operators_cannot_be_measured_without_litert(board, tiny, modules):
    names = ("ai_edge_litert", "tflite_runtime")
    device = board(fault=modules(**{name: absent(name) for name in names}))
    found = edgefer.benchmark(tiny, [device], settings=FEW, formats=["onnx"], operator_costs=True).runs[0]
    assert found.operator_costs is None
    assert found.verdict.status == "incomplete"
    assert any("ai-edge-litert" in reason for reason in found.verdict.reasons)


def test_the_agent_never_lets_a_runtime_report(board, tiny, modules, tmp_path):
    spy = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(os.environ.get('ORT_DISABLE_TELEMETRY', 'unset'))"
    device = board(fault=modules(onnxruntime=f"{spy}; raise ImportError('enough')"))
    with pytest.raises(DeviceError, match="enough"):
        edgefer.benchmark(tiny, [device], settings=FEW, formats=["onnx"])
    assert (tmp_path / "seen").read_text() == "1"


def test_everything_written_lies_in_one_directory(board, tiny, data, tmp_path, kept):
    device = board()
    before = set((tmp_path / "board").rglob("*"))
    edgefer.benchmark(tiny, [device], data=data, settings=FEW, formats=["tflite"])
    new = set((tmp_path / "board").rglob("*")) - before
    assert all(path in (kept, kept.parent) or kept in path.parents for path in new)
    with Session(device) as session:
        session.request("clean")
    assert not kept.exists()


@pytest.mark.parametrize("threads", ["", "0", "1,", "two", "-1", "1,99"])
def test_threads_that_are_none_are_wrong_usage(tiny, threads):
    assert run(tiny, "--threads", threads).exit_code != 0


def test_wrong_names_are_refused_before_any_work(tiny, tmp_path):
    with pytest.raises(UsageError, match="no device is called"):
        edgefer.benchmark(tiny, ["nowhere"])
    with pytest.raises(UsageError, match="name of its own"):
        edgefer.benchmark(tiny, ["local", "local"])
    with pytest.raises(InputError):
        edgefer.benchmark(tmp_path)


def test_images_of_several_sizes_are_resampled_one_size_at_a_time(board, tiny, tmp_path):
    import cv2

    for index, side in enumerate((20, 31, 20)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((side, side, 3), 40 * index, np.uint8))
    images = open_images(tmp_path)
    found = edgefer.benchmark(tiny, [board()], data=images, settings=FEW, formats=["tflite"])
    assert found.runs[0].artifacts["tiny_int8.tflite"].drift.samples == 3
