"""SIGTERM, wherever it comes, leaves nothing behind: no temporary file, no half-written one, no process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefer.board.boards import start_time
from edgefer.conversion.convert import convert
from tests.conversion.files import write_faces, write_network

HANGING = """
import sys, time
import {module}
from edgefer.cli.main import main

def hang(*arguments, **options):
    print("here", flush=True)
    time.sleep(60)

{module}.{name} = hang
main(sys.argv[1:])
"""
"""The command, which never comes past one function."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a network, faces, a bundle and its package, which is all that it may hold."""
    folder = tmp_path_factory.mktemp("place")
    write_network(folder / "tiny.onnx")
    write_faces(folder / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(tmp_path_factory.mktemp("home")))
        convert(folder / "tiny.onnx", folder / "bundle", calibration=folder / "faces")
    return folder


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [
        (("convert", "tiny.onnx", "--calibration", "faces", "-o", "out"), "edgefer.conversion.convert", "evaluate"),
        (("convert", "tiny.onnx", "--calibration", "faces", "-o", "out"), "pathlib", "Path.rename"),
        (("evaluate", "bundle", "--data", "faces"), "edgefer.evaluation.evaluate", "judge"),
        (("package", "bundle", "-o", "app.zip"), "pathlib", "Path.replace"),
        (("convert", "tiny.onnx", "--calibration", "faces", "-o", "out"), "edgefer.runtime.apart", "receive"),
    ],
)
def test_a_terminated_command_leaves_nothing_behind(place, tmp_path, command, module, name):
    before = set(place.rglob("*"))
    process = start(place, tmp_path, [sys.executable, "-c", HANGING.format(module=module, name=name), *command])
    assert process.stdout.readline() == b"here\n", process.stderr.read()
    terminate(process)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert set(place.rglob("*")) == before


def test_a_terminated_benchmark_leaves_no_agent_behind(place, tmp_path):
    command = ("-m", "edgefer", "benchmark", "bundle", "--frames", "1000000")
    process = start(place, tmp_path, [sys.executable, *command])
    while len(list(descendants(process.pid))) < 2:  # the agent, and its worker
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    terminate(process)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list(tmp_path.rglob("*.part"))


def start(place, tmp_path, command):
    """The command, with a home and a place for temporary files of its own."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "EDGEFER_HOME": str(tmp_path / "home")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=place, env=environment, stdout=pipe, stderr=pipe)


def terminate(process):
    """Send SIGTERM: it ends as one that was interrupted, and so does all that it has started."""
    children = {(pid, start_time(pid)) for pid in descendants(process.pid)}
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert said.decode().strip().endswith("interrupted")
    assert not [pid for pid, started in children if start_time(pid) == started]


def descendants(parent):
    """Processes that a process has started, and those that they have."""
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from descendants(int(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_exit_code_is_that_of_an_interruption_wherever_it_comes(number):
    program = (
        "import os\n"
        "import edgefer.cli.main as commands\n"
        "def interrupted(*arguments, **options):\n"
        f"    exec('import os; os.kill(os.getpid(), {number:d})')\n"
        "commands.cli.main = interrupted\n"
        "commands.main([])\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 5


def test_what_is_ignored_stays_ignored():
    program = (
        "import os, signal\n"
        "from edgefer.host.interruption import interruptible\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with interruptible():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('goes on')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"goes on\n"


def test_a_request_to_stop_waits_for_what_must_not_be_cut_in_two():
    program = (
        "import os, signal\n"
        "from edgefer.host.interruption import interruptible, interrupts_deferred\n"
        "with interruptible():\n"
        "    try:\n"
        "        with interrupts_deferred():\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            print('whole')\n"
        "        print('never')\n"
        "    except KeyboardInterrupt:\n"
        "        print('then stopped')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == (
        b"whole\nthen stopped\n"
    )
