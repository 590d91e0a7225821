import json
import os

import pytest

from edgefer.board.boards import describe, save, start_time
from edgefer.cli.main import main


@pytest.fixture
def run(capfd):
    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["board", *arguments])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return command


@pytest.fixture
def stopped():
    board = describe("pi5", "cortex-a76", 2222, os.getpid(), start_time(os.getpid()) - 1)
    board.directory.mkdir(parents=True)
    save(board)
    return board


def test_without_boards_the_list_says_so(run):
    assert run("list") == (0, "no emulated boards\n", "")


def test_the_list_tells_whether_a_board_runs(run, stopped):
    code, out, _ = run("list")
    assert code == 0
    assert out.splitlines()[1].split() == ["pi5", "cortex-a76", "2222", "stopped"]


def test_the_list_as_json_says_that_boards_are_emulated(run, stopped):
    code, out, _ = run("list", "--json", "-")
    assert code == 0
    document = json.loads(out)
    assert document["schema"] == "edgefer.boards/1"
    assert document["boards"] == [stopped.to_dict()]
    assert document["boards"][0]["emulated"] is True


def test_down_tells_what_was_there(run, stopped):
    assert run("down", "pi5", "a72") == (0, "pi5: removed\na72: there was none\n", "")
    assert not stopped.directory.exists()


def test_down_all_removes_every_board(run, stopped):
    assert run("down", "--all", "--json", "-")[1:] == (
        '{\n  "schema": "edgefer.boards/1",\n  "removed": [\n    "pi5"\n  ]\n}\n',
        "",
    )


@pytest.mark.parametrize(
    "arguments",
    [["down"], ["down", "--all", "pi5"], ["down", "../pi5"], ["up"], ["up", "--cpu", "cortex-a72", "--port", "80"]],
)
def test_wrong_usage_ends_with_2(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [[], ["up"], ["down"], ["list"]])
def test_every_command_has_an_example(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "edgefer board" in out.partition("Example")[2]
