"""Whatever goes wrong is told with its exit code, leaves nothing running on the board, and the next run succeeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import edgefer
from edgefer.board.boards import start_time
from edgefer.device import Session, find_device
from edgefer.device.registry import add_device
from edgefer.device.results import Settings
from edgefer.errors import DeviceError

FEW = Settings(frames=2, seconds=0.0, warmup=0)
LONG = Settings(frames=2, seconds=150.0, warmup=0)
DATA = os.urandom(8_000_000)


@pytest.fixture
def there(board):
    """An emulated board, as a device."""
    if board.emulated is None:
        pytest.skip("faults are for emulated boards")
    return find_device(board.name)


@pytest.fixture(autouse=True)
def nothing_is_left_running(request):
    yield
    if "board" in request.fixturenames and request.getfixturevalue("board").emulated is not None:
        wait_for(lambda: not agents(request.getfixturevalue("board").emulated), "nothing of ours runs on the board")


def test_a_cut_during_upload_is_told_and_the_upload_goes_on(there, monkeypatch):
    with pytest.raises(DeviceError, match="connection was lost") as caught, Session(there) as session:
        follow_uploads(session, monkeypatch, lambda have: have > 3_000_000 and hang_up(session))
        session.push(DATA)
    assert caught.value.exit_code == 4
    heard = []
    with Session(there) as session:
        follow_uploads(session, monkeypatch, heard.append)
        session.push(DATA)
    assert heard[0] > 3_000_000


def follow_uploads(session, monkeypatch, heard):
    """Call `heard` with the number of bytes of a file that are on the device, as it grows."""
    request = session.request

    def followed(name, *data, **facts):
        reply = request(name, *data, **facts)
        if name == "put":
            heard(facts["offset"] + facts["bytes"])
        return reply

    monkeypatch.setattr(session, "request", followed)


def test_a_cut_during_the_run_is_told(there, fer_b0, faces, board):
    with cut_when_working(board.emulated, kill_connections), pytest.raises(DeviceError, match="connection was lost"):
        edgefer.benchmark(fer_b0, [there], settings=LONG, formats=["tflite"])
    assert succeeds(there, fer_b0, faces)


def test_an_agent_that_is_killed_for_want_of_memory_is_told(there, fer_b0, faces, board):
    with cut_when_working(board.emulated, kill_workers), pytest.raises(DeviceError, match="was killed") as caught:
        edgefer.benchmark(fer_b0, [there], settings=LONG, formats=["tflite"])
    assert "out of memory" in caught.value.remedy
    assert succeeds(there, fer_b0, faces)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk on the board")
def test_a_full_disk_is_told(there, board):
    with Session(there) as session:
        session.request("clean")
        session.push(b"something")
        disk = board.emulated.rootfs / Path(session.machine["directory"]).relative_to("/")
    inside(board.emulated, "mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "none", disk)
    try:
        with pytest.raises(DeviceError, match="disk is full") as caught, Session(there) as session:
            session.push(DATA)
        assert caught.value.exit_code == 4
    finally:
        inside(board.emulated, "umount", disk)
    with Session(there) as session:
        assert session.push(DATA)


def test_a_file_corrupted_in_flight_is_refused(there, board, monkeypatch):
    write = Session._write
    monkeypatch.setattr(Session, "_write", lambda self, data: write(self, data.replace(DATA[50:99], b"!" * 49, 1)))
    with Session(there) as session:
        session.request("clean")
        with pytest.raises(DeviceError, match="corrupted on the way"):
            session.push(DATA)
    monkeypatch.undo()
    with Session(there) as session:
        assert session.push(DATA)


def test_a_missing_python_is_told(there):
    with pytest.raises(DeviceError, match="no Python on the board"):
        Session(replace(there, python="/usr/bin/python9"))


def test_a_missing_runtime_is_told(there, fer_b0):
    with pytest.raises(DeviceError, match="a runtime is missing") as caught:
        edgefer.benchmark(fer_b0, [replace(there, python="/usr/bin/python3")], settings=FEW, formats=["tflite"])
    assert f"edgefer devices setup {there.name}" in caught.value.remedy


@pytest.mark.parametrize(("keys", "words"), [("", "not known here"), ("{host} {other}\n", "not the one that is known")])
def test_a_host_key_that_is_unknown_or_wrong_is_refused_and_never_accepted(there, tmp_path, keys, words):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    other = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    known = tmp_path / "known_hosts"
    known.write_text(keys.format(host=f"[{there.host}]:{there.port}", other=other))
    before = known.read_text()
    with pytest.raises(DeviceError, match=words) as caught:
        Session(replace(there, known_hosts=str(known)))
    assert caught.value.exit_code == 4
    assert known.read_text() == before


def test_a_board_that_wants_a_password_is_refused_without_waiting(there, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with pytest.raises(DeviceError, match="login was refused") as caught:
        Session(replace(there, identity=str(tmp_path / "key")))
    assert "ssh-copy-id" in caught.value.remedy


def test_a_board_that_is_off_cannot_be_reached(there):
    with pytest.raises(DeviceError, match="cannot be reached"):
        Session(replace(there, port=1))


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [("throttled_file", "0x4\n", "throttled"), ("temperature_file", "84500\n", "84.5 C")],
)
def test_a_board_that_slows_down_is_no_evidence(there, board, fer_b0, faces, tmp_path, file, content, word):
    path = getattr(board.emulated, file)
    before = path.read_text()
    path.write_text(content)
    try:
        done = benchmark_command(fer_b0, there.name, faces, tmp_path / "out.json")
    finally:
        path.write_text(before)
    verdict = json.loads((tmp_path / "out.json").read_text())["runs"][0]["verdict"]
    assert (done.returncode, verdict["status"]) == (5, "throttled"), done.stderr
    assert word in verdict["reasons"][0]
    assert succeeds(there, fer_b0, faces)


def test_the_command_ends_with_4_where_no_board_is(there, fer_b0, faces, tmp_path):
    add_device(replace(there, name="gone", port=1))
    done = benchmark_command(fer_b0, "gone", faces, tmp_path / "out.json")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()


def benchmark_command(bundle, device, data, json_file):
    command = [sys.executable, "-m", "edgefer", "benchmark", bundle, "--device", device, "--quick", "--frames", "2"]
    command += ["--data", data, "--samples", "2", "--format", "tflite", "--json", json_file, "-q"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def succeeds(there, bundle, faces):
    found = edgefer.benchmark(bundle, [there], data=faces, samples=2, settings=FEW, formats=["tflite"])
    return found.runs[0].verdict.status == "trusted"


def hang_up(session):
    """End the client as a cut connection does."""
    os.killpg(session._process.pid, signal.SIGKILL)


@contextmanager
def cut_when_working(board, cut):
    """Do something to a board whenever a worker is at work there."""
    done = threading.Event()

    def watch():
        while not done.wait(0.5):
            with suppress(OSError):  # what was there a moment ago need not be now
                if workers(board):
                    cut(board)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def kill_connections(board):
    servers = processes(board, lambda command: b"/usr/sbin/sshd" in command)
    sessions = [pid for pid in servers if parent(pid) in servers]
    for pid in sessions:
        os.kill(pid, signal.SIGKILL)


def kill_workers(board):
    for pid in workers(board):
        os.kill(pid, signal.SIGKILL)


def workers(board):
    return processes(board, lambda command: b"The agent: what runs" in command and b"worker" in command.split(b"\0"))


def agents(board):
    return processes(board, lambda command: b"SOURCE" in command)


def processes(board, wanted):
    """Processes of a board, as this machine numbers them: those in its process namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted((entry / "cmdline").read_bytes()):
                pids = (entry / "status").read_text().partition("NSpid:")[2].split("\n")[0].split()
                if len(pids) > 1 and descends(int(entry.name), board.pid) and start_time(int(entry.name)):
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


def descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parent(pid)
    return False


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def inside(board, *command):
    """Run a command of this machine in the mount namespace of a board."""
    subprocess.run(["nsenter", f"--target={board.pid}", "--mount", *command], check=True, timeout=60)


def wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)
    return found
