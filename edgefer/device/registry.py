"""The devices that the user has named: a TOML file in the user's configuration directory.

    [pi5]
    host = "192.168.1.20"
    user = "pi"

Emulated boards that are up are devices too, by their names, without being in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from edgefer.board.boards import boards
from edgefer.device.target import LOCAL, Device
from edgefer.errors import InputError, UsageError
from edgefer.host.directories import config_directory
from edgefer.host.files import write_whole
from edgefer.spec import read_toml


def registry_file() -> Path:
    """Where the devices are listed."""
    return config_directory() / "devices.toml"


def devices() -> Mapping[str, Device]:
    """All devices by name: this machine, emulated boards that are up, then the user's own.

    Raises:
        InputError: the file is unreadable, or an entry of it is.
    """
    return {LOCAL: Device(LOCAL), **_emulated(), **registered()}


def registered() -> Mapping[str, Device]:
    """The user's own devices.

    Raises:
        InputError: the file is unreadable, or an entry of it is.
    """
    path = registry_file()
    if not path.exists():
        return {}
    types = {field.name: field.type for field in fields(Device)}
    found = {}
    for name, table in read_toml(path).items():
        if not isinstance(table, dict) or not set(table) <= set(types) - {"name"}:
            known = ", ".join(key for key in types if key != "name")
            raise InputError(f"{path}: [{name}] must be a table of {known}")
        for key, value in table.items():
            wanted = {"port": int, "emulated": bool}.get(key, str)
            if type(value) is not wanted:
                raise InputError(f"{path}: [{name}] {key} must be of type {wanted.__name__}")
        try:
            found[name] = Device(name, **table)
        except UsageError as error:
            raise InputError(f"{path}: {error.message}") from error
    return found


def find_device(target: str) -> Device:
    """The device of a name, or at an address such as `pi@host:22`.

    Raises:
        UsageError: there is no device of that name, and it is no address either.
        InputError: the file of devices is unreadable.
    """
    known = devices()
    if target in known:
        return known[target]
    if "@" not in target and ":" not in target:
        raise UsageError(
            f"no device is called {target!r} (known: {', '.join(known)})",
            remedy=f"Name one with `edgefer devices add {target} user@host`, or give its address, user@host.",
        )
    return Device.parse(target)


def add_device(device: Device) -> None:
    """Name a device; one of the same name is replaced.

    Raises:
        UsageError: the name is this machine's.
        InputError: the file cannot be read or written.
    """
    if device.name == LOCAL:
        raise UsageError(f"{LOCAL!r} is the name of this machine", remedy="Choose another name.")
    _write({**registered(), device.name: device})


def remove_device(name: str) -> None:
    """Forget a device.

    Raises:
        UsageError: none of that name was added.
        InputError: the file cannot be read or written.
    """
    known = dict(registered())
    if name not in known:
        raise UsageError(f"no device {name!r} was added (there are: {', '.join(known) or 'none'})")
    del known[name]
    _write(known)


def _emulated() -> dict[str, Device]:
    return {
        board.name: Device(
            board.name,
            board.host,
            board.user,
            board.port,
            str(board.identity),
            str(board.known_hosts),
            board.python,
            emulated=True,
        )
        for board in boards()
        if board.running
    }


def _write(found: Mapping[str, Device]) -> None:
    path = registry_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "\n".join(map(_table, found.values())))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _table(device: Device) -> str:
    """A TOML table; JSON's strings, integers and booleans are TOML's too."""
    values = {key: value for key, value in asdict(device).items() if key != "name" and value not in ("", None, False)}
    return "".join(
        (
            f'["{device.name}"]\n',
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()),
        )
    )
