"""Devices are named in a file that people may edit."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgefer.cli.devices import devices as command
from edgefer.device.registry import add_device, devices, find_device, registry_file, remove_device
from edgefer.device.target import Device
from edgefer.errors import InputError, UsageError


def run(*arguments):
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_a_device_that_was_added_is_found():
    device = Device("pi5", "192.168.1.20", "pi", 2222, "/keys/a b%h", "/known", "/opt/venv/bin/python", True)
    add_device(device)
    add_device(Device("other", "host"))
    assert find_device("pi5") == device


printable = st.text(st.characters(exclude_characters='"\\$', exclude_categories=("C", "Zl", "Zp", "Zs")), max_size=20)


@given(identity=printable, python=printable)
def test_whatever_path_is_accepted_is_read_back(identity, python):
    device = Device("pi.5", "h", identity=identity, python=python)
    add_device(device)
    assert find_device("pi.5") == device


def test_a_device_that_was_removed_is_not_found():
    add_device(Device("pi5", "host"))
    remove_device("pi5")
    with pytest.raises(UsageError, match="no device is called 'pi5'"):
        find_device("pi5")
    with pytest.raises(UsageError, match="no device 'pi5' was added"):
        remove_device("pi5")


def test_this_machine_is_always_a_device_and_cannot_be_replaced():
    assert devices()["local"].address == "this machine"
    with pytest.raises(UsageError, match="name of this machine"):
        add_device(Device("local"))


def test_an_address_needs_no_name():
    assert find_device("pi@host:22") == Device("host", "host", "pi", 22)


@pytest.mark.parametrize(
    "text",
    [
        "pi5 =",
        "pi5 = 3",
        "[pi5]\nhost = 3",
        "[pi5]\nhost = 'h'\nport = '22'",
        "[pi5]\nhost = '-o x'",
        "[pi5]\ncolour = 'red'",
    ],
)
def test_a_file_that_makes_no_sense_is_named(text):
    registry_file().parent.mkdir(parents=True)
    registry_file().write_text(text)
    with pytest.raises(InputError, match=r"devices\.toml"):
        devices()


def test_the_commands_add_list_and_remove():
    run("add", "pi5", "pi@host:22", "--python", "/opt/python")
    listed = json.loads(run("list", "--json", "-").output)
    assert [device["name"] for device in listed] == ["local", "pi5"]
    assert (listed[1]["port"], listed[1]["python"]) == (22, "/opt/python")
    run("remove", "pi5")
    assert "pi5" not in run("list").output
