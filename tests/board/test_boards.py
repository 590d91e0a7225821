import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.board import CPUS, boards
from edgefer.board.boards import describe, directory_of, find, save, start_time, state_file
from edgefer.board.cpus import facts
from edgefer.errors import DeviceError, UsageError


def saved(name, pid, started):
    board = describe(name, "cortex-a76", 2222, pid, started)
    board.directory.mkdir(parents=True)
    save(board)
    return board


def test_a_saved_board_is_told_of_and_found():
    board = saved("pi5", os.getpid(), start_time(os.getpid()))
    assert boards() == [board]
    assert find("pi5") == board
    assert find("another") is None


def test_a_board_runs_as_long_as_its_process_lives():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    board = describe("pi5", "cortex-a76", 2222, process.pid, start_time(process.pid))
    assert board.running
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not board.running, "a zombie is not alive"
    process.communicate()
    assert not board.running


def test_another_process_of_the_same_number_is_not_the_board():
    assert not describe("pi5", "cortex-a76", 2222, os.getpid(), start_time(os.getpid()) - 1).running


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cpu": "cortex-a76", "port": "x", "pid": 1, "started": 1}', "\xff"])
def test_a_state_file_that_cannot_be_read_is_named_with_what_to_do(text):
    directory = directory_of("pi5")
    directory.mkdir(parents=True)
    state_file(directory).write_text(text, "latin-1")
    with pytest.raises(DeviceError, match=r"pi5/board\.json: the board's state cannot be read") as caught:
        boards()
    assert caught.value.remedy.endswith("edgefer board down pi5")


@given(st.text())
def test_no_name_leads_out_of_the_directory_of_boards(name):
    try:
        directory = directory_of(name)
    except UsageError:
        return
    assert directory.parent == directory_of("a72").parent
    assert directory.name == name
    assert directory.suffix == ""


def test_what_a_board_says_of_itself_can_be_edited_by_path():
    board = describe("pi5", "cortex-a76", 2222, 1, 1)
    told = {board.rootfs / path for path in facts(CPUS["cortex-a76"])}
    assert {board.temperature_file, board.throttled_file} <= told


def test_only_the_a76_has_dot_products():
    assert ["asimddp" in CPUS[cpu].features for cpu in ("cortex-a72", "cortex-a76")] == [False, True]


def test_ssh_checks_the_host_key_and_asks_nobody():
    options = describe("pi5", "cortex-a76", 2222, 1, 1).ssh_options
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes", "Port=2222"} <= set(options)


def test_a_board_is_plain_data_for_programs():
    board = describe("pi5", "cortex-a76", 2222, 1, -1)
    document = json.loads(json.dumps(board.to_dict()))
    assert document["emulated"] is True
    assert document["running"] is False
    assert document["identity"] == str(board.identity)
