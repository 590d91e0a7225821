"""Nothing that a device is called can be taken for anything else by OpenSSH or a shell."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgefer.device import Device
from edgefer.device.ssh import command, explain
from edgefer.errors import UsageError
from tests.device import fake_ssh

plain = st.from_regex(r"[A-Za-z0-9._:%@-]{0,12}", fullmatch=True)
nasty = (
    plain
    | st.text(max_size=30)
    | st.sampled_from(
        [
            "$(touch x)",
            "`touch x`",
            ";touch x",
            "a b",
            "-oProxyCommand=touch x",
            "'\"",
            "\n",
            "x\ty",
            "a'b",
            "%h",
            "${HOME}",
            "a\\b",
        ]
    )
)


def device(**parts):
    """A device of these parts, those that are refused left out."""
    accepted = {}
    for key, value in parts.items():
        with suppress(UsageError):
            Device(**{"name": "pi", "host": "board", key: value})
            accepted[key] = value
    return Device(**{"name": "pi", "host": "board", **accepted})


@given(host=nasty, user=nasty, name=nasty)
def test_what_is_accepted_as_a_host_or_user_is_plain(host, user, name):
    accepted = device(host=host, user=user, name=name)
    assert not set(accepted.address + accepted.name) & set(" \t\n\"'\\$`;&|<>(){}*?~#!/")
    assert not accepted.address.startswith("-")


@given(identity=nasty, known_hosts=nasty, python=nasty)
def test_paths_stay_one_argument_each(identity, known_hosts, python):
    accepted = device(identity=identity, known_hosts=known_hosts, python=python)
    arguments = command(accepted, 7)
    assert arguments[-3:-1] == ["--", "board"]
    assert sum(argument.startswith("-oIdentityFile=") for argument in arguments) == bool(accepted.identity)
    assert all(argument in ("ssh", "-T") or argument.startswith("-o") for argument in arguments[:-3])
    assert shlex.split(arguments[-1])[-1] == (accepted.python or "python3")


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(python=nasty)
def test_a_shell_runs_what_was_named_and_nothing_else(python):
    with tempfile.TemporaryDirectory() as folder:
        accepted = device(python=python)
        assume(not accepted.python or shutil.which(accepted.python) is None)  # a name that a program has, as bc
        log = fake_ssh.install(Path(folder, "bin"), Path(folder, "home"))
        before = set(Path(folder).rglob("*")) | {log}
        environ = {**os.environ, "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            command(accepted, 0), env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        assert done.returncode in (0, 3, 126, 127)
        assert set(Path(folder).rglob("*")) == before
        assert json.loads(log.read_text().splitlines()[0])[-2] == "board"


def test_host_keys_are_always_checked_and_nothing_waits_for_a_password():
    arguments = command(Device("pi", "board"), 7)
    assert {"-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=10"} <= set(arguments)


def test_a_percent_sign_in_a_path_is_no_token_of_openssh():
    assert '-oIdentityFile="/keys/100%%h"' in command(Device("pi", "board", identity="/keys/100%h"), 7)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pi@board", ("board", "pi", None)),
        ("pi@board:2222", ("board", "pi", 2222)),
        ("board:22", ("board", "", 22)),
        ("pi@[fe80::1%eth0]:22", ("fe80::1%eth0", "pi", 22)),
    ],
)
def test_addresses_are_read_as_people_write_them(text, parts):
    found = Device.parse(text)
    assert (found.host, found.user, found.port) == parts


@pytest.mark.parametrize(
    "text", ["", "pi@", "@board", "pi@board:port", "pi@-oProxyCommand=x", "a b@c", "pi@board:99999"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError):
        Device.parse(text)


@pytest.mark.parametrize(
    ("code", "said", "words", "remedy"),
    [
        (255, "Host key verification failed.", "not known here", "ssh-keygen -lf"),
        (
            255,
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
            "not the one",
            "-R '[b]:2'",
        ),
        (255, "pi@b: Permission denied (publickey,password).", "refused", "ssh-copy-id -p 2 pi@b"),
        (255, "ssh: connect to host b port 22: Connection refused", "cannot be reached", "ssh -p 2 pi@b"),
        (127, "no Python: python3", "no Python on the board", "apt install python3"),
        (0, "", "connection was lost: it ended with code 0", "run the command again"),
        (None, "", "is silent", "run the command again"),
    ],
)
def test_each_way_to_fail_is_told_with_its_remedy(code, said, words, remedy):
    error = explain(Device("pi", "b", "pi", 2), code, said)
    assert words in error.message
    assert remedy in error.remedy
    assert error.exit_code == 4


def test_a_connection_that_was_there_is_lost_and_not_out_of_reach():
    error = explain(Device("pi", "b"), 255, "Connection to b closed by remote host.", spoke=True)
    assert "connection was lost" in error.message
    assert "closed by remote host" in error.message
