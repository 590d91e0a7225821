"""The emulated board: it is an ARM board to whoever logs in, its counts repeat, and nothing stays of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgefer import board as emulated
from edgefer.board.boards import directory_of
from edgefer.board.instructions import parse, per_frame
from edgefer.errors import DeviceError

FRAMES = 3
PROGRAM = """
import os, sys
import numpy as np

def snapshot(k):
    try:
        os.close(0x5EED0000 + k)
    except OSError:
        pass

def invocation(model, pixels):
    if model.endswith(".tflite"):
        from ai_edge_litert.interpreter import Interpreter
        interpreter = Interpreter(model, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        return interpreter.invoke
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: pixels})

pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
frames, *models = sys.argv[1:]
k = 0
for model in models:
    invoke = invocation(model, pixels)
    invoke()
    for frame in range(int(frames)):
        snapshot(k + frame)
        invoke()
    k += int(frames) + 1
    snapshot(k - 1)
"""


def on(board, command, **options):
    """What a command prints on a board."""
    ssh = ["ssh", *board.ssh_options, f"{board.user}@{board.host}", command]
    return subprocess.run(ssh, capture_output=True, text=True, timeout=120, check=True, **options).stdout


@pytest.fixture(params=["board_a72", "board_a76"])
def emulation(request):
    return request.getfixturevalue(request.param)


def test_it_is_an_arm64_linux_with_python_and_both_runtimes(emulation):
    code = (
        "import ai_edge_litert.interpreter, onnxruntime, platform; print(platform.machine(), onnxruntime.__version__)"
    )
    machine, version = on(emulation, f"{emulation.python} -c '{code}'").split()
    assert machine == "aarch64"
    import onnxruntime

    assert version == onnxruntime.__version__


def test_it_says_which_processor_it_has(emulation):
    part = {"cortex-a72": "0xd08", "cortex-a76": "0xd0b"}[emulation.cpu]
    assert on(emulation, "grep -c $'CPU part\t: " + part + "' /proc/cpuinfo") == "4\n"
    assert on(emulation, "echo $QEMU_CPU") == f"{emulation.cpu}\n"


def test_who_logs_in_has_no_rights_but_over_his_own_files(emulation):
    assert on(
        emulation, "id -un; grep CapEff /proc/self/status; (touch /usr/x /etc/x) 2>&1 | grep -c cannot"
    ).split() == [
        "pi",
        "CapEff:",
        "0" * 16,
        "2" if os.geteuid() == 0 else "1",
    ]


def test_a_test_can_heat_it_up_and_throttle_it(board_a72):
    kept = {file: file.read_text() for file in (board_a72.temperature_file, board_a72.throttled_file)}
    try:
        board_a72.temperature_file.write_text("84217\n")
        board_a72.throttled_file.write_text("0x4\n")
        said = on(board_a72, "vcgencmd measure_temp; vcgencmd get_throttled; cat /sys/class/thermal/thermal_zone0/temp")
    finally:
        for file, text in kept.items():
            file.write_text(text)
    assert said.split() == ["temp=84.2'C", "throttled=0x4", "84217"]


def test_boards_share_their_userland_but_no_files(board_a72, board_a76):
    on(board_a72, "echo mine > ~/mine; echo mine > /tmp/mine")
    assert on(board_a76, "ls ~ /tmp").split() == ["/home/pi:", "venv", "/tmp:"]
    on(board_a72, "rm ~/mine /tmp/mine")


def test_nobody_without_its_key_gets_in(board_a72, board_a76):
    ssh = ["ssh", *board_a72.ssh_options]
    strangers = [option.replace(str(board_a72.identity), str(board_a76.identity)) for option in ssh]
    result = subprocess.run([*strangers, f"pi@{board_a72.host}", "true"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 255
    assert "Permission denied (publickey)" in result.stderr


def test_a_board_that_is_up_is_not_brought_up_again(board_a72):
    assert emulated.up("cortex-a72", board_a72.name) == board_a72


def test_nothing_is_left_of_a_board_that_went_down(board_a72):
    name = f"test-down-{os.getpid()}"
    there = emulated.up("cortex-a72", name)
    on(there, "nohup sleep 1000 >/dev/null 2>&1 &")
    assert processes_of(there.rootfs)
    assert emulated.down(name)
    assert not processes_of(there.rootfs)
    assert name not in Path("/proc/self/mounts").read_text()
    assert not there.directory.exists()
    assert board_a72.running, "the other board is none of its business"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_when_bringing_up_is_interrupted(board_a72, number):
    name = f"test-interrupted-{os.getpid()}"
    rootfs = directory_of(name) / "rootfs"
    command = [sys.executable, "-m", "edgefer", "board", "up", "--cpu", "cortex-a72", "--name", name, "-q"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    eventually(lambda: processes_of(rootfs))
    process.send_signal(number)
    assert process.wait(timeout=30) in (5, -signal.SIGKILL)
    eventually(lambda: not processes_of(rootfs))
    emulated.down(name)
    assert not rootfs.exists()


def test_a_port_that_is_taken_is_told(board_a72):
    with pytest.raises(DeviceError, match=f"port {board_a72.port} cannot be had"):
        emulated.up("cortex-a72", f"test-port-{os.getpid()}", port=board_a72.port)


def test_instructions_of_an_inference_repeat_and_tell_int8_from_float_and_a72_from_a76(board_a72, board_a76, fer_b0):
    litert, onnx, reference = "fer_b0_int8.tflite", "fer_b0_int8.onnx", "fer_b0_fp32.onnx"
    for there, models in ((board_a72, [onnx, reference]), (board_a76, [litert, onnx])):
        for model in models:
            on(there, f"cat > /tmp/{model}", stdin=(fer_b0 / model).open("rb"))
    with ThreadPoolExecutor() as pool:
        a72 = pool.submit(costs, board_a72, onnx, reference)
        a76 = pool.submit(costs, board_a76, litert, onnx)
        (a72_int8, a72_float), (a76_litert, a76_int8), (again,) = a72.result(), a76.result(), costs(board_a76, litert)
    for there in (board_a72, board_a76):
        on(there, "rm /tmp/fer_b0*")
    assert again.total == pytest.approx(a76_litert.total, rel=0.001)
    assert a72_int8.total < a72_float.total
    assert a76_int8.total < a72_int8.total
    assert a72_int8.by_class["int8_dot"] == a72_float.by_class["int8_dot"] == 0, "a Cortex-A72 has no dot product"
    assert a76_int8.by_class["int8_dot"] > 0.1 * a76_int8.total
    assert a72_float.by_class["float_vector"] > 10 * a72_int8.by_class["float_vector"]


def costs(board, *models):
    """Instructions of an inference of each model, counted in one run."""
    counts, inputs = f"/tmp/{models[0]}.counts.{len(models)}", " ".join(f"/tmp/{model}" for model in models)
    counted = f"PYTHONHASHSEED=0 INSN_OUT={counts} armstat {board.python} - {FRAMES} {inputs}"
    found = parse(on(board, f"{counted} >&2 && cat {counts}", input=PROGRAM))
    starts = range(0, len(models) * (FRAMES + 1), FRAMES + 1)
    return [per_frame(found, range(start, start + FRAMES)) for start in starts]


def processes_of(rootfs):
    """Processes of this machine that were started for the board whose files are there."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if str(rootfs) in said_by(path)]


def said_by(cmdline):
    try:
        return cmdline.read_text(errors="replace")
    except OSError:
        return ""


def eventually(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
