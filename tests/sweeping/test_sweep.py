import json
from dataclasses import replace
from importlib.resources import files
from types import SimpleNamespace

import jsonschema
import pytest

from edgefer.cli.main import main
from edgefer.device.target import Device
from edgefer.errors import DeviceError
from edgefer.execution import Local
from edgefer.sweeping import sweep as module
from edgefer.sweeping.conversions import Conversion, Convert, conversion_job, unpack
from edgefer.sweeping.request import read_request
from edgefer.sweeping.sweep import sweep
from tests.sweeping.sweeps import write_sweep


@pytest.fixture(autouse=True)
def same_day(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.fixture
def boards(monkeypatch):
    """Two boards that tell by a bundle's size how long a frame takes; their log says what was measured."""
    log, busy = [], set()

    def benchmark(bundle, targets, *, formats, **options):
        (device,) = targets
        assert device.name not in busy, "two runs at a time on one board"
        busy.add(device.name)
        log.append((bundle.path.name, device.name))
        if (stop := stops.pop((bundle.path.name, device.name), None)) is not None:
            busy.clear()
            raise stop
        artifacts = {
            a.file: SimpleNamespace(
                artifact=a, instructions=None, timing=SimpleNamespace(invoke=SimpleNamespace(p50=a.bytes / 1000))
            )
            for a in bundle.artifacts
            if a.format in formats and a.precision != "float32"
        }
        busy.discard(device.name)
        run = SimpleNamespace(artifacts=artifacts, verdict=SimpleNamespace(status="trusted"))
        return SimpleNamespace(runs=(run,))

    stops = {}
    monkeypatch.setattr(module, "benchmark", benchmark)
    monkeypatch.setattr(module, "find_device", lambda name: Device(name, host=name))
    return SimpleNamespace(log=log, stops=stops)


def ended(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_a_sweep_that_was_interrupted_twice_ends_with_the_same_table(tmp_path, boards, monkeypatch, capsys):
    file = write_sweep(tmp_path, ("pi4", "pi5"), networks=3, options=2)
    assert ended("sweep", file, "-o", tmp_path / "whole", "--workers", "1") == 0
    assert len(boards.log) == 12
    boards.log.clear()
    converted = []
    real = module.Convert.open

    def open(task, files):
        perform = real(task, files)

        def counted(conversion, advance):
            converted.append(conversion.name)
            if converted == ["net0-1", "net0-2", "net1-1"]:
                raise KeyboardInterrupt
            return perform(conversion, advance)

        return counted

    monkeypatch.setattr(module.Convert, "open", open)
    boards.stops["net1-2", "pi5"] = KeyboardInterrupt()
    out = tmp_path / "parts"
    assert ended("sweep", file, "-o", out, "--workers", "1") == 5
    assert ended("sweep", file, "-o", out, "--workers", "1") == 5
    assert ended("sweep", file, "-o", out, "--workers", "1") == 0
    assert (converted.count("net0-1"), converted.count("net0-2")) == (1, 1)
    assert set(converted) == {f"net{n}-{o}" for n in range(3) for o in (1, 2)}
    assert boards.log.count(("net0-1", "pi5")) == 1 and boards.log.count(("net1-2", "pi5")) == 2
    for name in ("sweep.json", "sweep.csv", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    document = json.loads((out / "sweep.json").read_text())
    schema = files("edgefer").joinpath("schemas", "sweep-1.schema.json").read_text("utf-8")
    jsonschema.validate(document, json.loads(schema))
    assert len(document["points"]) == 12
    assert document["recommended"]["bundle"] in {path.name for path in (out / "bundles").iterdir()}
    page = (out / "report.html").read_text()
    assert "A frame on pi4, ms" in page and page.count("<figure>") == 3
    assert "recommended" in capsys.readouterr().out


def test_what_fails_is_told_and_the_rest_is_done(tmp_path, boards, capsys):
    file = write_sweep(tmp_path, ("pi4",), networks=2, options=1)
    (tmp_path / "net1.onnx").write_bytes(b"no network")
    boards.stops["net0", "pi4"] = DeviceError("pi4: unplugged")
    assert ended("sweep", file, "-o", tmp_path / "out", "--csv", tmp_path / "again.csv") == 5
    out = capsys.readouterr().out
    assert "net0 on pi4: pi4: unplugged" in out and "net1: " in out
    assert (tmp_path / "again.csv").read_text().count("\n") == 1 + 2


def test_without_boards_and_with_bounds_that_nothing_keeps_it_ends_with_1(tmp_path):
    file = write_sweep(tmp_path, networks=1, options=1, settings="[bounds]\nbudget = 10\n")
    assert ended("sweep", file, "-o", tmp_path / "out", "-q") == 1


def test_a_conversion_is_the_same_where_its_files_are_sent(tmp_path):
    request = read_request(write_sweep(tmp_path, networks=1, options=2))
    conversion = Conversion("net0", request.networks[0], request.options[0])
    job = conversion_job(conversion, "versions")
    perform = Convert().open({})
    packed = {carried: perform(job.item(carried), lambda: None) for carried in (False, True)}
    for carried, content in packed.items():
        unpack(content, tmp_path / str(carried))
    files = [{path.name: path.read_bytes() for path in (tmp_path / each).iterdir()} for each in ("False", "True")]
    assert files[0] == files[1] and "net0_int8.tflite" in files[0]
    other = replace(conversion, options=request.options[1])
    assert conversion_job(other, "versions").key != job.key


def test_precisions_are_beside_each_other(tmp_path):
    file = write_sweep(tmp_path, networks=1, options=1)
    file.write_text(file.read_text().replace("mixed = [false]", 'mixed = [false, true]\nprecision = ["int8", "w8"]'))
    found = sweep(read_request(file), tmp_path / "out")
    assert not found.failures
    tried = [(p.options["precision"], p.options.get("mixed")) for p in found.points if p.format == "tflite"]
    assert tried == [("int8", False), ("w8", None), ("int8", True)]
    int8, w8, _ = (p for p in found.points if p.format == "tflite")
    assert w8.scores["faces"].agreement >= int8.scores["faces"].agreement


def test_a_sweep_on_processes_finds_the_same(tmp_path):
    request = read_request(write_sweep(tmp_path, networks=1, options=2))
    one, two = (sweep(request, tmp_path / str(n), workers=Local(n, processes=True)) for n in (1, 2))
    assert one.to_dict() == two.to_dict()
