"""The agent and the session speak with each other, whatever happens in between."""

import ast
import io
import json
import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgefer.board.boards import start_time
from edgefer.device import Session, agent, pipeline_agent, sustained_agent, throughput_agent
from edgefer.device import session as sessions
from edgefer.errors import DeviceError
from edgefer.host.saturation import probe, sums_saturate
from edgefer.images.preprocess import resampling_weights, to_pixels
from edgefer.spec import InputSpec

DATA = bytes(range(256)) * 20_000


def test_a_device_says_what_it_is(board):
    with Session(board()) as session:
        assert session.machine["python"] == ".".join(map(str, sys.version_info[:3]))
        assert session.machine["packages"]["numpy"]


@pytest.fixture
def brought(monkeypatch):
    """Where in a file each part lies that is sent to a board."""
    offsets, request = [], Session.request

    def recorded(session, what, payload=b"", listener=None, **fields):
        offsets.extend([fields["offset"]] if what == "put" else [])
        return request(session, what, payload, listener, **fields)

    monkeypatch.setattr(Session, "request", recorded)
    return offsets


def test_a_file_is_brought_once_and_known_by_its_digest(board, kept, brought):
    with Session(board()) as session:
        assert session.push(DATA) == sha256(DATA).hexdigest()
        assert session.push(DATA) == sha256(DATA).hexdigest()
    assert brought == list(range(0, len(DATA), sessions.CHUNK))
    assert (kept / "files" / sha256(DATA).hexdigest()).read_bytes() == DATA


def test_an_upload_goes_on_where_it_stopped(board, kept, brought):
    part = kept / "files" / f"{sha256(DATA).hexdigest()}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:1_000_000])
    with Session(board()) as session:
        session.push(DATA)
    assert brought[0] == 1_000_000


@pytest.mark.parametrize("name", ["{}", "{}.part"])
def test_a_file_that_was_altered_on_the_board_is_brought_again(board, kept, name):
    device, digest = board(), sha256(DATA).hexdigest()
    path = kept / "files" / name.format(digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * len(DATA))
    with Session(device) as session:
        session.push(DATA)
    assert (kept / "files" / digest).read_bytes() == DATA


def test_a_file_corrupted_on_the_way_is_refused_and_leaves_nothing(board, kept, monkeypatch):
    write = Session._write
    monkeypatch.setattr(Session, "_write", lambda self, data: write(self, data.replace(DATA[:4096], b"!" * 4096, 1)))
    with Session(board()) as session, pytest.raises(DeviceError, match="corrupted on the way"):
        session.push(DATA)
    assert list((kept / "files").iterdir()) == []
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("format", "message"),
    [("tflite", "LiteRT finds that it is no TFLite file"), ("onnx", "ONNX Runtime cannot parse it")],
)
def test_a_model_that_a_runtime_refuses_is_told_in_our_words_with_its_own_as_detail(board, format, message):
    with Session(board()) as session:
        file = io.BytesIO()
        np.save(file, np.zeros((1, 1, 1, 3)))
        images = dict.fromkeys(("crops", "down", "across"), session.push(file.getvalue()))
        paths = {**images, "model": session.push(b"not a model"), "probe": session.push(probe())}
        how = {"threads": 1, "frames": 1, "seconds": 1, "warmup": 0, "fps": None, "outputs": False}
        with pytest.raises(DeviceError, match=f"pi: the model does not run there: {message}") as caught:
            session.request("measure", paths=paths, format=format, **how)
    assert caught.value.detail


def test_a_full_disk_is_told_and_leaves_nothing(board, kept):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    with Session(board(fault=f"{limit}; {ignore}")) as session, pytest.raises(DeviceError) as caught:
        session.push(DATA)
    assert caught.value.exit_code == 4
    assert list((kept / "files").iterdir()) == []


def test_a_name_that_is_no_digest_touches_no_file(board, tmp_path):
    with Session(board()) as session, pytest.raises(DeviceError, match="not a SHA-256"):
        session.request("offer", sha256="../../outside", bytes=3)
    assert not (tmp_path / "board" / "outside").exists()


def test_clean_removes_the_one_directory(board, kept, tmp_path):
    device = board()
    before = set((tmp_path / "board").rglob("*"))
    with Session(device) as session:
        session.push(b"abc")
        assert kept.is_dir()
        assert session.request("clean")["bytes"] == 3
    assert set((tmp_path / "board").rglob("*")) == before | {kept.parent}


def test_what_a_login_shell_says_is_no_answer(board):
    with Session(board(fault="print('Welcome to pi!', 7, [], {}, sep='\\n', flush=True)")) as session:
        assert session.machine["protocol"] == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "sys.stderr.write('Host key verification failed.'), sys.exit(255)",
            "not known here",
        ),
        ("sys.stderr.write('pi@board: Permission denied (publickey,password).'), sys.exit(255)", "login was refused"),
        ("os.rename('venv', 'gone'); command = command.replace('python3', 'no-python3')", "no Python"),
        ("sys.exit(0)", "connection was lost"),
    ],
)
def test_a_board_that_cannot_be_used_says_why(board, fault, words):
    with pytest.raises(DeviceError, match=words) as caught:
        Session(board(fault=fault))
    assert caught.value.exit_code == 4
    assert caught.value.remedy


def test_a_board_that_falls_silent_is_given_up(board, monkeypatch):
    monkeypatch.setattr(sessions, "SILENCE_S", 0.5)
    monkeypatch.setattr(sessions, "SIGN_OF_LIFE_S", 0.1)
    monkeypatch.setattr(sessions, "LEAVE_S", 0.1)
    with pytest.raises(DeviceError, match="connection was lost"):
        Session(board(fault="import time; time.sleep(60)"))


def test_the_agent_ends_when_the_other_end_goes(tmp_path):
    reader, writer = os.pipe()
    process = start_agent(reader, tmp_path)
    os.close(writer)
    assert process.wait(20) == 0


def test_the_agent_ends_when_the_other_end_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(agent, "LEASE_S", 0.2)
    reader, writer = os.pipe()
    requests = agent.Requests(reader, lease=0.2)
    with pytest.raises(agent.GoneError):
        requests.line()
    os.close(writer)
    os.close(reader)


def test_a_worker_ends_with_its_agent(tmp_path):
    reader, writer = os.pipe()
    process = start_agent(reader, tmp_path)
    request = {"do": "measure", "paths": {}, "format": "tflite", "threads": 1, "frames": 10, "seconds": 60.0}
    os.write(writer, json.dumps({"do": "hello", "directory": str(tmp_path)}).encode() + b"\n")
    os.write(writer, json.dumps({**request, "warmup": 1, "fps": None, "outputs": False}).encode() + b"\n")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    worker = wait_for(lambda: children.read_text().split())[0]
    process.kill()
    process.wait()
    wait_for(lambda: start_time(int(worker)) is None)
    os.close(writer)


@pytest.mark.parametrize("program", [agent, pipeline_agent, sustained_agent, throughput_agent])
def test_the_agent_and_its_programs_run_on_pythons_that_boards_have(program):
    source = Path(program.__file__).read_text("utf-8")
    ast.parse(source, feature_version=(3, 9))
    assert len(source) < 100_000  # one argument of a command holds 128 KiB


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "area", "nearest"])
@pytest.mark.parametrize("size", [(48, 48), (37, 90), (300, 200)])
def test_the_agent_resamples_as_edgefer_does(size, resize, fit):
    spec = InputSpec((64, 56), (0.5,) * 3, (0.5,) * 3, resize=resize, fit=fit, crop_fraction=0.875)
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(agent.resample(image, *resampling_weights(size, spec)), to_pixels(image, spec))


def test_the_agent_asks_for_exact_sums_where_edgefer_does(tmp_path):
    (tmp_path / "probe").write_bytes(probe())
    assert agent.saturates(onnxruntime, str(tmp_path / "probe")) == sums_saturate()
    assert agent.saturates(onnxruntime, str(tmp_path / "absent"))


def start_agent(reader, folder):
    source = Path(agent.__file__).read_text("utf-8")
    boot = f"SOURCE = open({str(folder / 'agent.py')!r}).read(); exec(compile(SOURCE, 'agent', 'exec'))"
    (folder / "agent.py").write_text(source, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", boot], stdin=reader, stdout=subprocess.DEVNULL)
    os.close(reader)
    return process


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
