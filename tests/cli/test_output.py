import io
import os
import sys

import click
import pytest

from edgefer.cli.output import ConsoleProgress, echo, table, write_text
from edgefer.errors import InputError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_text_replaces_a_file_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "result.json"
    file.write_text("old")
    write_text(str(file), "new\n")
    assert file.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_written_through_and_stays_a_link(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_text(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(str(pipe), "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


def test_what_cannot_be_written_keeps_the_older_file(tmp_path, monkeypatch):
    file = tmp_path / "result.json"
    file.write_text("old")

    def full(path, *arguments):
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(InputError, match=r"result\.json: cannot be written: No space left on device"):
            write_text(str(file), "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_printing_goes_on_where_the_reader_has_gone(capfd):
    reader, writer = os.pipe()
    os.close(reader)
    original = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        with os.fdopen(os.dup(1), "w") as _, pytest.MonkeyPatch.context() as patch:
            stream = os.fdopen(1, "w", closefd=False)
            patch.setattr(sys, "stdout", stream)
            echo("nobody reads this")
            echo("nor this")
            stream.close()
    finally:
        os.dup2(original, 1)
        os.close(original)
    assert capfd.readouterr().out == ""


def test_columns_line_up():
    assert table(("", "bytes"), [("long name", "1"), ("b", "1,000")]) == (
        "           bytes\nlong name      1\nb          1,000"
    )


@pytest.mark.parametrize("quiet", [False, True])
def test_a_pipe_gets_one_plain_line_per_stage(quiet, capsys):
    progress = ConsoleProgress(quiet=quiet)
    with progress.stage("calibrate", 2) as advance:
        advance()
    progress.note("two\nlines \x1b[31m")
    progress.detail("only where asked for")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("   ")[0].strip() for line in lines] == (
        [] if quiet else ["calibrate", r"note: two\nlines \x1b[31m"]
    )


def test_a_terminal_sees_a_bar_that_is_erased(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ConsoleProgress().stage("calibrate", 2) as advance:
        advance()
        advance()
    shown = terminal.getvalue()
    assert "############             1/2" in shown
    assert shown.rpartition("\r\x1b[K")[2].split() == ["calibrate", "0.0", "s"]


def test_a_stage_that_fails_ends_its_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(click.Abort), ConsoleProgress().stage("calibrate"):
        raise click.Abort
    assert terminal.getvalue().endswith("\n")
