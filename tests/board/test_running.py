"""Bringing boards up and down, with tools that stand in for the real ones; device_tests/ has the real ones."""

import os
import socket
from pathlib import Path

import pytest

from edgefer import board
from edgefer.board import running
from edgefer.board.boards import describe, directory_of, save, start_time
from edgefer.board.userland import DATA, Userland, userland
from edgefer.errors import DeviceError, UsageError
from edgefer.host.progress import SILENT


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Makes programs, by name, that come before the real ones."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    def make(name, script):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    make("ssh", "echo aarch64")
    make("ssh-keygen", 'for path; do :; done; echo secret >"$path"; echo ssh-ed25519 AAAA test >"$path.pub"')
    make("unshare", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    return make


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A userland with next to nothing in it."""
    (tmp_path / "userland/etc/ssh").mkdir(parents=True)
    monkeypatch.setattr(running, "userland", lambda progress: Userland(tmp_path / "userland"))


def alive(tmp_path):
    return start_time(int((tmp_path / "pid").read_text())) is not None


def test_a_board_that_is_up_is_left_alone_and_goes_down_wholly(tools, shared, tmp_path):
    made = board.up("cortex-a76")
    try:
        assert made.running
        assert made.temperature_file.read_text() == "48312\n"
        assert f"Port {made.port}\n" in (made.rootfs / "etc/ssh/sshd_config").read_text()
        assert made.known_hosts.read_text() == f"[127.0.0.1]:{made.port} ssh-ed25519 AAAA test\n"
        assert board.up("cortex-a76") == made
        with pytest.raises(UsageError, match="a76 is up already, as cortex-a76"):
            board.up("cortex-a72", "a76")
        with pytest.raises(UsageError, match="a76 is up already"):
            board.up("cortex-a76", port=made.port + 1)
    finally:
        assert board.down("a76")
    assert not alive(tmp_path)
    assert not made.directory.exists()
    assert not board.down("a76")


def test_what_a_stopped_machine_left_is_replaced(tools, shared):
    left = describe("a72", "cortex-a72", 1, os.getpid(), -1)
    (left.rootfs / "tmp").mkdir(parents=True)
    save(left)
    made = board.up("cortex-a72")
    assert made.running
    assert board.boards() == [made]
    board.down("a72")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DeviceError("no answer")])
def test_nothing_is_left_of_a_board_that_was_interrupted(tools, shared, tmp_path, monkeypatch, interruption):
    def interrupted(made, log):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pass
        raise interruption

    monkeypatch.setattr(running, "_wait_until_it_answers", interrupted)
    with pytest.raises(KeyboardInterrupt if interruption is KeyboardInterrupt else DeviceError):
        board.up("cortex-a72")
    assert not alive(tmp_path)
    assert not directory_of("a72").exists()


@pytest.mark.parametrize(
    ("script", "cause", "remedy"),
    [
        ("exit 10", "does not let the board mount", "--privileged"),
        ("exit 11", "no emulator can be registered with binfmt_misc", "modprobe binfmt_misc"),
        ("exit 12", "binfmt_misc does not start the emulator", "ls /proc/sys/fs/binfmt_misc"),
        ("echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1", "namespaces of its own", "sysctl"),
        ("echo 'Bad configuration' >&2; exit 13", "SSH server did not start", "| Bad configuration"),
    ],
)
def test_why_a_board_does_not_come_up_is_told_with_a_remedy(tools, shared, script, cause, remedy):
    tools("unshare", script)
    tools("ssh", "sleep 0.1; exit 255")
    with pytest.raises(DeviceError, match=cause) as caught:
        board.up("cortex-a72")
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 4
    assert not directory_of("a72").exists()


def test_a_port_that_is_taken_is_told(tools, shared):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DeviceError, match=f"port {port} cannot be had: Address already in use"):
            board.up("cortex-a72", port=port)


@pytest.mark.parametrize(("missing", "package"), [("ssh", "openssh-client"), ("unshare", "util-linux")])
def test_a_missing_tool_is_told_with_its_package(monkeypatch, missing, package):
    monkeypatch.setattr(running.shutil, "which", lambda tool: None if tool == missing else tool)
    with pytest.raises(DeviceError, match=f"{missing} not found") as caught:
        board.up("cortex-a72")
    assert caught.value.remedy == f"apt-get install {package}"


def test_an_unknown_cpu_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="no emulated 'z80'") as caught:
        board.up("z80")
    assert "cortex-a72, cortex-a76" in caught.value.remedy


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="needs Debian's package tools")
def test_without_a_network_the_userland_is_not_made_and_the_remedy_names_it(tools, edgefer_home, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tools("apt-get", "echo 'E: Failed to fetch InRelease' >&2; exit 100")
    with pytest.raises(DeviceError, match="Debian's package lists: failed with exit code 100") as caught:
        userland(SILENT)
    assert "reaches its package sources" in caught.value.remedy
    assert "| E: Failed to fetch InRelease" in caught.value.remedy
    assert [path.name for path in (edgefer_home / "cache/board").iterdir()] == ["lock"]


def test_without_apt_the_remedy_is_a_debian(monkeypatch):
    monkeypatch.setattr("edgefer.board.userland.shutil.which", lambda tool: None)
    with pytest.raises(DeviceError, match="apt-get not found") as caught:
        userland(SILENT)
    assert "debian:bookworm" in caught.value.remedy


def test_the_scripts_come_with_the_package():
    assert {path.name for path in DATA.iterdir()} == {"armstat.sh", "boot.sh", "insn.c", "unpack.sh", "vcgencmd.sh"}
