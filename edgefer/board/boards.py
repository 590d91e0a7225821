"""The emulated boards of this user: where each lives, how to reach it, whether it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgefer.board.cpus import TEMPERATURE, THROTTLED
from edgefer.errors import DeviceError, UsageError
from edgefer.host.directories import data_directory
from edgefer.host.text import printable

HOST = "127.0.0.1"
USER = "pi"
PYTHON = "/home/pi/venv/bin/python"
NAME_LENGTH = 32


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        name: the user's name for it.
        cpu: what it emulates, a key of `CPUS`.
        host: always this machine.
        port: where its SSH server listens.
        user: whom to log in as; has no other rights on the board.
        identity: private key that it accepts.
        known_hosts: file that holds its host key.
        directory: all that is its own, removed by `down`.
        rootfs: the root of its files, but for what it shares (/usr) and what the kernel makes (/proc, /dev).
        pid: the process, on this machine, that lives as long as the board does; its mount namespace is the board's.
        started: when that process started, in the kernel's ticks since boot: a number may be used again, the two
            together are not.
    """

    name: str
    cpu: str
    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path
    directory: Path
    rootfs: Path
    pid: int
    started: int

    @property
    def running(self) -> bool:
        """Whether its processes live."""
        return start_time(self.pid) == self.started

    @property
    def ssh_options(self) -> tuple[str, ...]:
        """What `ssh` needs before `user@host`; nothing of the user's own configuration applies."""
        options = {
            "Port": self.port,
            "IdentityFile": f'"{self.identity}"',
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        return ("-F", "none", *(word for key, value in options.items() for word in ("-o", f"{key}={value}")))

    @property
    def python(self) -> str:
        """The Python on the board that has numpy, LiteRT and ONNX Runtime."""
        return PYTHON

    @property
    def temperature_file(self) -> Path:
        """What the board takes for its temperature, in thousandths of a degree Celsius."""
        return self.rootfs / TEMPERATURE

    @property
    def throttled_file(self) -> Path:
        """What `vcgencmd get_throttled` tells, in hexadecimal: 0x4 is throttled now, 0x40000 has been."""
        return self.rootfs / THROTTLED

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `edgefer board list --json` tells it."""
        fields = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return {**fields, "running": self.running, "emulated": True}


def boards() -> list[Board]:
    """The boards that are up, or were until this machine stopped, by name.

    Raises:
        DeviceError: a board's state cannot be read.
    """
    return [load(path.parent.name) for path in sorted(_directory().glob("*/board.json"))]


def find(name: str) -> Board | None:
    """The board of that name, None if there is none.

    Raises:
        DeviceError: its state cannot be read.
        UsageError: that is no name.
    """
    return load(name) if state_file(directory_of(name)).exists() else None


def directory_of(name: str) -> Path:
    """Where the board of that name keeps everything.

    Raises:
        UsageError: that is no name.
    """
    fits = name.isascii() and name.replace("-", "").replace("_", "").isalnum() and name[0] not in "-_"
    if not fits or len(name) > NAME_LENGTH:
        raise UsageError(
            f"{printable(name)!r} cannot be a board's name",
            remedy=f"Use up to {NAME_LENGTH} letters, digits, - and _, the first of them a letter or digit.",
        )
    return _directory() / name


def state_file(directory: Path) -> Path:
    """The file, written last, that makes a board one that `boards` tells of."""
    return directory / "board.json"


def save(board: Board) -> None:
    """Tell `boards` of it."""
    own = {"cpu": board.cpu, "port": board.port, "pid": board.pid, "started": board.started}
    state_file(board.directory).write_text(json.dumps(own) + "\n", "ascii")


def load(name: str) -> Board:
    """The board that was saved under that name.

    Raises:
        DeviceError: its state cannot be read.
    """
    directory = directory_of(name)
    try:
        own = json.loads(state_file(directory).read_text("ascii"))
        return describe(name, str(own["cpu"]), int(own["port"]), int(own["pid"]), int(own["started"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DeviceError(
            f"{state_file(directory)}: the board's state cannot be read: {error}",
            remedy=f"Remove what is left of it: edgefer board down {name}",
        ) from error


def describe(name: str, cpu: str, port: int, pid: int, started: int) -> Board:
    """A board with everything where boards have it."""
    directory = directory_of(name)
    return Board(
        name=name,
        cpu=cpu,
        host=HOST,
        port=port,
        user=USER,
        identity=directory / "id",
        known_hosts=directory / "known_hosts",
        directory=directory,
        rootfs=directory / "rootfs",
        pid=pid,
        started=started,
    )


def start_time(pid: int) -> int | None:
    """When a process started, in ticks since boot; None if it is not there, or dead and not yet buried."""
    try:
        fields = _stat(pid)
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _stat(pid: int) -> Sequence[str]:
    """The fields of /proc/PID/stat after the command's name, which may hold anything: proc(5), from state on."""
    return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()


def _directory() -> Path:
    return data_directory() / "boards"
