"""The system's OpenSSH client as transport: the user's keys, agent, jump hosts and known hosts apply.

Host keys are always checked and never accepted unasked, and nothing ever waits for a password.
"""

from __future__ import annotations

import shlex
import sys

from edgefer.device.target import Device
from edgefer.errors import DeviceError

DIRECTORY = ".cache/edgefer-agent"
"""All that is ever written on a device lies in here, relative to the home directory."""

NO_PYTHON = 127

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "LogLevel": "ERROR",
}
_BOOT = """import os,sys
n=int(sys.argv[1]);b=[]
while n:
 c=os.read(0,n);n-=len(c);b.append(c)
 if not c:sys.exit(3)
SOURCE=b"".join(b).decode();exec(compile(SOURCE,"agent","exec"))"""
_FIND = (
    'b=$1 n=$2; shift 2; for p do q=$(command -v "$p") && exec "$q" -c "$b" "$n"; done; '
    f'echo "no Python: $*" >&2; exit {NO_PYTHON}'
)


def command(device: Device, length: int) -> list[str]:
    """What starts the agent on a device; its source, of `length` bytes, is then read from standard input."""
    if not device.host:
        return [sys.executable, "-c", _BOOT, str(length)]
    options = [f"-o{key}={value}" for key, value in _OPTIONS.items()]
    for key, path in (("IdentityFile", device.identity), ("UserKnownHostsFile", device.known_hosts)):
        if path:
            options.append('-o{}="{}"'.format(key, path.replace("%", "%%")))
    if device.identity:
        options.append("-oIdentitiesOnly=yes")
    if device.port is not None:
        options += ["-p", str(device.port)]
    pythons = [device.python] if device.python else [f"{DIRECTORY}/venv/bin/python", "venv/bin/python", "python3"]
    remote = shlex.join(["exec", "sh", "-c", _FIND, "edgefer", _BOOT, str(length), *pythons])
    return ["ssh", "-T", *options, "--", device.address, remote]


def explain(device: Device, code: int | None, said: str, *, spoke: bool = False) -> DeviceError:
    """Why a connection ended, for people.

    Args:
        device: where to.
        code: what the client ended with, None if it was still running.
        said: what it wrote on standard error.
        spoke: whether the agent had answered before.
    """
    where = f"{device.name} ({device.address})"
    last = (said.strip().splitlines() or [""])[-1]
    port = f" -p {device.port}" if device.port else ""
    if code == NO_PYTHON:
        return DeviceError(
            f"{where}: no Python on the board: {last}",
            remedy="On the board: sudo apt install python3; or name an interpreter: edgefer devices add --python PATH.",
        )
    if "HOST IDENTIFICATION HAS CHANGED" in said:
        return DeviceError(
            f"{where}: refused: its host key is not the one that is known",
            remedy="Someone may be in between, or the board was set up anew.  If it was, compare the key's fingerprint "
            "on the board (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then forget the old one here: "
            f"ssh-keygen -R {_known_as(device)}",
        )
    if "host key" in said.lower():
        return DeviceError(
            f"{where}: refused: its host key is not known here",
            remedy="See its fingerprint on the board with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`, "
            f"then log in once with `ssh{port} {device.address}` and say yes only if it is the same.",
        )
    if "permission denied" in said.lower():
        return DeviceError(
            f"{where}: the login was refused: {last}",
            remedy=f"Passwords are never asked for; install your key: ssh-copy-id{port} {device.address}",
        )
    if code == 255 and said and not spoke:
        return DeviceError(
            f"{where}: cannot be reached: {last}", remedy=f"Is it on, and does `ssh{port} {device.address}` work?"
        )
    how = "is silent" if code is None else f"ended with code {code}"
    return DeviceError(
        f"{where}: the connection was lost: it {how}{': ' + last if last else ''}",
        remedy="Nothing is left running on the board; run the command again.",
    )


def _known_as(device: Device) -> str:
    return shlex.quote(f"[{device.host}]:{device.port}" if device.port else device.host)
