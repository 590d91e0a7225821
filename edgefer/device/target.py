"""The Device: where a board is and how it is logged in to, every part of it checked before it reaches a command."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgefer.errors import UsageError

LOCAL = "local"
"""The name of this machine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*(%[A-Za-z0-9]+)?")
_ADDRESS = re.compile(r"(?:(?P<user>[^@]+)@)?(?:\[(?P<v6>[^]]+)\]|(?P<host>[^:@]+))(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class Device:
    """A board, or this machine.

    Attributes:
        name: what the user calls it.
        host: name or address, or what `~/.ssh/config` calls it; empty for this machine.
        user: who logs in, `""` for whom OpenSSH chooses.
        port: None for OpenSSH's choice.
        identity: file of the private key, `""` for OpenSSH's choice.
        known_hosts: file of known host keys, `""` for OpenSSH's choice.
        python: the interpreter on the board, `""` for the one that `devices setup` made, `~/venv`'s, or `python3`.
        emulated: its times mean nothing.

    Raises:
        UsageError: a part holds what OpenSSH or a shell could take for something else.
    """

    name: str
    host: str = ""
    user: str = ""
    port: int | None = None
    identity: str = ""
    known_hosts: str = ""
    python: str = ""
    emulated: bool = False

    def __post_init__(self) -> None:
        _require(_NAME.fullmatch(self.name), "name", self.name, "letters, digits, dots, dashes and underscores")
        if self.name != LOCAL:
            _require(_HOST.fullmatch(self.host), "host", self.host, "a host name or an address")
        _require(not self.user or _USER.fullmatch(self.user), "user", self.user, "a user's name")
        _require(self.port is None or 0 < self.port < 65536, "port", str(self.port), "1 to 65535")
        for key in ("identity", "known_hosts"):
            path = getattr(self, key)
            _require(path.isprintable() and not set(path) & set('"\\$'), key, path, "a path without quotes, \\ and $")
        _require(self.python.isprintable(), "python", self.python, "the path of an interpreter")

    @property
    def address(self) -> str:
        """What the user would type after `ssh`."""
        if not self.host:
            return "this machine"
        return f"{self.user}@{self.host}" if self.user else self.host

    @classmethod
    def parse(cls, text: str, name: str = "", *, identity: str = "", known_hosts: str = "", python: str = "") -> Device:
        """A device from `user@host`, `user@host:port` or `user@[v6 address]:port`, called like its host by default.

        Raises:
            UsageError: it is no such address.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not an address of a device", remedy="Write it like pi@192.168.1.20:22.")
        host = match["v6"] or match["host"]
        port = int(match["port"]) if match["port"] else None
        name = name or re.sub(r"[^A-Za-z0-9._-]", "-", host).lstrip(".-_")
        return cls(name, host, match["user"] or "", port, identity, known_hosts, python)


def _require(condition: object, key: str, value: str, wanted: str) -> None:
    if not condition:
        raise UsageError(f"{key} {value!r} of a device: it takes {wanted}")
