import json
import sys
import threading
import time

import numpy as np
import pytest

from edgefer.cli.main import main
from edgefer.errors import EvidenceError, UsageError
from edgefer.evaluation import shards
from edgefer.execution import Local, Store, execute
from edgefer.host.directories import cache_directory
from edgefer.host.progress import Silent
from tests.evaluation.tiny import EXPRESSIONS, faces
from tests.execution.tasks import done, jobs, square
from tests.video.videos import write_video

pytest.importorskip("distributed", reason="needs Dask: pip install 'edgefer[cluster]'")

from edgefer.execution import cluster as cluster_module
from edgefer.execution.cluster import cluster

OTHER_VERSION = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name, real=real: "0.1" if name == "onnxruntime" else real(name)
"""

WATCHED = """
import hashlib, os, pathlib, time
from edgefer.execution import on_worker
here = pathlib.Path(FOLDER)
real = getattr(on_worker._perform, "real", on_worker._perform)  # Dask loads this twice
if NAME == "late":
    (here / "came").touch()

def watched(run, item):
    if NAME == "late":
        (here / "joined").touch()
    result = real(run, item)
    with (here / "log").open("a") as log:
        log.write(hashlib.sha256(item).hexdigest() + f" {os.getpid()}\\n")
    while (here / "lost").exists() and not (here / "came").exists():
        time.sleep(0.02)
    for _ in range(500):
        if not (here / "lost").exists():  # parts are left for who joins
            time.sleep(0.02)
    for _ in range(50):
        if (here / "lost").exists() and not (here / "joined").exists():
            time.sleep(0.02)
    return result

watched.real = real
on_worker._perform = watched
"""
"""Workers write down which parts they did; once one is lost, the others go slow until a late one takes part."""


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


def run(folder, workers, count):
    task = square(folder, pause_s=0.15)
    return dict(execute(task, jobs(count), workers, Store(folder / "store"), Silent(), "square", "steps"))


def wait_until(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 10)
    np.savez(tmp_path / "faces.npz", images=faces(200), labels=np.arange(200) % 4, label_names=np.array(EXPRESSIONS))
    return tmp_path / "faces.npz"


def test_evaluation_and_video_on_three_workers_give_the_bytes_of_this_machine(tiny, three, data, tmp_path, capsys):
    videos = [write_video(tmp_path / f"{index}.mp4", 12 + index) for index in range(6)]
    there = ("--cluster", three.file)
    written = {}
    for where, options in (("here", ()), ("there", there), ("sent", (*there, "--send-data"))):
        out = tmp_path / where
        assert ended("evaluate", tiny.path, "--data", data, "--json", tmp_path / f"{where}.json", *options) == 0
        assert ended("run", tiny.path, *videos, "--detector", "none", "-o", out / "run", *options) == 0
        assert ended("aggregate", out / "run", "-o", out / "sum", "--duration", "1.2", *options) == 0
        files = [tmp_path / f"{where}.json", *sorted(path for path in out.rglob("*") if path.is_file())]
        written[where] = {path.name: path.read_bytes() for path in files if path.suffix != ".html"}
        written[where]["evaluation"] = written[where].pop(f"{where}.json")
    assert written["there"] == written["here"]
    assert written["sent"] == written["here"]
    assert "cluster: 20 parts done by 3 workers; 0 lost on the way, 0 joined, 0 refused" in capsys.readouterr().err
    assert not [path for path in (cache_directory() / "results").rglob("*") if path.is_file()]


def test_a_lost_worker_costs_what_it_was_doing_and_one_that_joins_takes_part(machines, tmp_path):
    workers = [machines.worker() for _ in range(3)]
    notes = Notes()

    def disturb():
        wait_until(lambda: any(process == workers[0].pid for _, process in done(tmp_path)))
        workers[0].kill()
        machines.worker()

    disturber = threading.Thread(target=disturb)
    with cluster(str(machines.file), progress=notes) as found:
        found._client.wait_for_workers(3)
        disturber.start()
        outcomes = run(tmp_path, found, 60)
    disturber.join()
    assert outcomes == {n: str(10 * n * n).encode() for n in range(60)}
    numbers = [number for number, _ in done(tmp_path)]
    by_lost = {number for number, process in done(tmp_path) if process == workers[0].pid}
    twice = {number for number in numbers if numbers.count(number) > 1}
    assert twice <= by_lost and len(twice) <= 3
    assert machines.workers[3].pid in {process for _, process in done(tmp_path)}
    assert notes.lines[-1] == "cluster: 60 parts done by 3 workers; 1 lost on the way, 1 joined, 0 refused"


@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_commands_that_lose_a_worker_and_gain_one_give_the_same_bytes(command, tiny, machines, data, tmp_path, capsys):
    for name in ("first", "late"):
        (tmp_path / f"{name}.py").write_text(WATCHED.replace("NAME", repr(name)).replace("FOLDER", repr(str(tmp_path))))
    if command == "evaluate":
        arguments, written = ("evaluate", tiny.path, "--data", data), "evaluation.json"
    else:
        videos = [write_video(tmp_path / f"{index}.mp4", 3 + index) for index in range(20)]
        arguments, written = ("run", tiny.path, *videos, "--detector", "none"), "frames.csv"

    def done_by():
        return [line.split() for line in (tmp_path / "log").read_text().splitlines()]

    def disturb():
        wait_until(lambda: (tmp_path / "log").exists() and str(workers[0].pid) in {who for _, who in done_by()})
        (tmp_path / "lost").touch()
        workers[0].kill()
        machines.worker("--preload", tmp_path / "late.py")

    def document(folder, *options):
        where = ("--json", folder / "evaluation.json") if command == "evaluate" else ("-o", folder)
        folder.mkdir()
        assert ended(*arguments, *where, *options) == 0
        return (folder / written).read_bytes()

    workers = [machines.worker("--preload", tmp_path / "first.py") for _ in range(3)]
    here = document(tmp_path / "here")
    machines.wait(3)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    there = document(tmp_path / "there", "--cluster", machines.file)
    disturber.join()
    assert there == here
    assert "1 lost on the way, 1 joined, 0 refused" in capsys.readouterr().err
    parts = [part for part, _ in done_by()]
    lost = {part for part, who in done_by() if who == str(workers[0].pid)}
    twice = {part for part in parts if parts.count(part) > 1}
    assert len(set(parts)) == 20 and twice <= lost and len(twice) <= 3
    assert str(machines.workers[3].pid) in {who for _, who in done_by()}


def test_a_lost_scheduler_ends_with_5_and_a_rerun_goes_on(machines, tmp_path, monkeypatch):
    machines.worker()

    def disturb():
        wait_until(lambda: len(list((tmp_path / "store").glob("key*"))) >= 4)
        machines.scheduler.kill()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    with pytest.raises(EvidenceError, match="is gone") as caught, cluster(str(machines.file)) as found:
        run(tmp_path, found, 40)
    disturber.join()
    assert caught.value.exit_code == 5
    kept = {path.name for path in (tmp_path / "store").glob("key*")}
    assert len(kept) >= 4
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    before = len(done(tmp_path))
    assert run(tmp_path, Local(2), 40) == {n: str(10 * n * n).encode() for n in range(40)}
    assert {f"key{number}" for number, _ in done(tmp_path)[before:]} == {f"key{n}" for n in range(40)} - kept


def test_a_worker_of_another_version_is_refused_by_name_unless_it_is_taken_as_it_is(machines, tmp_path):
    (tmp_path / "other.py").write_text(OTHER_VERSION)
    machines.worker("--preload", tmp_path / "other.py", "--name", "old")
    with pytest.raises(UsageError) as caught, cluster(str(machines.file)) as found:
        found._client.wait_for_workers(1)
        run(tmp_path, found, 2)
    assert "worker tcp://127.0.0.1:" in caught.value.remedy
    assert "(old): onnxruntime 0.1 (here " in caught.value.remedy and "--any-version" in caught.value.remedy
    with cluster(str(machines.file), any_version=True) as found:
        assert run(tmp_path, found, 2) == {0: b"0", 1: b"10"}


def test_a_cluster_without_workers_says_so(machines, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE_S", 0.1)
    with pytest.raises(EvidenceError, match="no worker at"), cluster(str(machines.file)) as found:
        run(tmp_path, found, 2)


def test_dasks_own_configuration_may_name_the_scheduler(three, monkeypatch):
    import dask

    address = json.loads(three.file.read_text())["address"]
    with dask.config.set({"scheduler-address": address}), cluster("env") as found:
        assert len(found._client.nthreads()) == 3


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1"),
        ("local:x", "says not how many"),
        ("somewhere", "not where a cluster can be"),
        ("missing.json", "no such scheduler file"),
        ("env", "Dask's configuration names no scheduler"),
    ],
)
def test_what_is_no_cluster_is_wrong_usage(address, told, monkeypatch):
    monkeypatch.setattr(cluster_module, "_CONNECT_S", 0.5)
    with pytest.raises(UsageError, match=told), cluster(address):
        pass


def test_without_dask_the_option_names_the_extra_and_all_else_works(tiny, data, tmp_path, monkeypatch, capsys):
    for module in ("cloudpickle", "dask", "distributed"):
        monkeypatch.setitem(sys.modules, module, None)
    assert ended("evaluate", tiny.path, "--data", data) == 0
    assert ended("evaluate", tiny.path, "--data", data, "--cluster", "local:2") == 2
    assert 'pip install "edgefer[cluster]"' in capsys.readouterr().err


def test_options_that_contradict_each_other_are_wrong_usage(tiny, data, tmp_path, capsys):
    assert ended("evaluate", tiny.path, "--data", data, "--send-data") == 2
    assert ended("evaluate", tiny.path, "--data", data, "--cluster", "local:2", "--workers", "2") == 2
    assert ended("run", tiny.path, data, "-o", tmp_path / "out", "--cluster", "local:2", "--live") == 2
