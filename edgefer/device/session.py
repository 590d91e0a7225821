"""A conversation with the agent on a device; when it ends, however it ends, nothing is left running there."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.resources import files
from types import TracebackType
from typing import Any, TypeAlias

from edgefer.device.ssh import DIRECTORY, command, explain
from edgefer.device.target import Device
from edgefer.errors import DeviceError, UsageError
from edgefer.host.directories import cache_directory
from edgefer.runtime.refusals import refusal

Listener: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Called with every event."""

PROTOCOL = 1
SILENCE_S = 90.0
"""An agent says something every second while it works; importing a runtime may hold it up on a slow board."""
SIGN_OF_LIFE_S = 5.0
LEAVE_S = 5.0
"""For the client to end by itself when it should."""
CHUNK = 1 << 20
LONGEST = 1 << 28
"""Bytes of an answer: the samples of an hour."""


class AgentError(DeviceError):
    """The agent could not do what it was asked; `kind` says why, for programs."""

    def __init__(self, message: str, *, remedy: str, kind: str, detail: str = "") -> None:
        super().__init__(message, remedy=remedy, detail=detail)
        self.kind = kind


class Session:
    """Speaks with the agent of one device.

    with Session(device) as session:
        digest = session.push(data)
        reply = session.request("measure", ...)

    Attributes:
        device: with whom.
        machine: what the device says it is, from `describe_machine` of the agent.

    Raises:
        DeviceError: the device cannot be reached, refuses, or goes away.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        source = files("edgefer.device").joinpath("agent.py").read_bytes()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
        self._buffer = b""
        self._told = 0.0
        self.machine: Mapping[str, Any] = {}
        try:
            self._process = subprocess.Popen(
                command(device, len(source)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise UsageError(
                f"ssh cannot be started: {error.strerror}", remedy="Install it: sudo apt install openssh-client"
            ) from error
        try:
            self._write(source)
            self.machine = self.request("hello", directory=_directory(device))
            if not isinstance(self.machine, dict) or self.machine.get("protocol") != PROTOCOL:
                raise DeviceError(f"{device.name}: its agent speaks another protocol")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up: the agent ends when its input does."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def request(self, what: str, payload: bytes = b"", listener: Listener | None = None, **fields: Any) -> Any:
        """Ask the agent, and wait for its answer.

        Args:
            what: a `do_` method of the agent.
            payload: bytes that follow the request.
            listener: hears the events before the answer.
            fields: the method's arguments, plain data.

        Raises:
            DeviceError: the connection was lost, or the agent could not do it.
        """
        self._write(json.dumps({"do": what, **fields}).encode() + b"\n" + payload)
        while True:
            message = self._message()
            if "event" in message:
                if listener is not None:
                    listener(message)
            elif "error" in message:
                raise _refusal(self.device, **message["error"])
            else:
                return message["reply"]

    def push(self, data: bytes) -> str:
        """Bring a file to the device unless it is there, going on where an earlier attempt stopped.

        Args:
            data: its content.

        Returns:
            Its SHA-256, by which the agent knows it.

        Raises:
            DeviceError: the connection was lost, the disk is full, or what arrived has another digest.
        """
        digest = sha256(data).hexdigest()
        have = self.request("offer", sha256=digest, bytes=len(data))["have"]
        while have < len(data):
            chunk = data[have : have + CHUNK]
            last = have + len(chunk) == len(data)
            self.request("put", chunk, sha256=digest, offset=have, bytes=len(chunk), last=last)
            have += len(chunk)
        return digest

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
            self._told = time.monotonic()
        except OSError:
            raise self._lost() from None

    def _message(self) -> dict[str, Any]:
        """The next message; what a login shell says before the agent does is no message."""
        assert self._process.stdout is not None
        heard = time.monotonic()
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if end:
                self._buffer = rest
                with contextlib.suppress(ValueError):
                    message = json.loads(line)
                    if isinstance(message, dict) and message.keys() & {"event", "reply", "error"}:
                        return message
                continue
            now = time.monotonic()
            if now - self._told >= SIGN_OF_LIFE_S:
                self._write(b"\n")
            if select.select([self._process.stdout], [], [], SIGN_OF_LIFE_S)[0]:
                data = os.read(self._process.stdout.fileno(), CHUNK)
                if not data:
                    raise self._lost()
                self._buffer += data
                heard = now
                if len(self._buffer) > LONGEST:
                    raise DeviceError(f"{self.device.name}: its answer has no end")
            elif now - heard > SILENCE_S:
                raise self._lost()

    def _lost(self) -> DeviceError:
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(LEAVE_S)
        self._errors.seek(0)
        said = self._errors.read(20_000).decode("utf-8", "replace")
        return explain(self.device, code, said, spoke=bool(self.machine))


def _directory(device: Device) -> str:
    """Where the agent keeps its files, relative to its home; here, beside edgefer's caches."""
    return DIRECTORY if device.host else str(cache_directory().absolute() / "agent")


def _refusal(device: Device, kind: str, message: str) -> AgentError:
    setup = f"Prepare it with `edgefer devices setup {device.name}`."
    if kind in ("LiteRT", "ONNX Runtime"):
        told = refusal(kind, "open", message)
        said, remedy = "the model does not run there", f"Is the runtime older than here? {setup}"
        return AgentError(f"{device.name}: {said}: {told.message}", remedy=remedy, kind=kind, detail=message)
    said, remedy = {
        "disk": ("its disk is full", f"Free some space there; `edgefer devices clean {device.name}` removes ours."),
        "corrupt": ("a file was corrupted on the way", "Run the command again; if it recurs, check its disk."),
        "killed": ("the measurement was killed", "Was it out of memory? See `dmesg` on the board."),
        "memory": ("the measurement failed", "Stop what else runs on the board."),
        "no runtime": ("a runtime is missing", setup),
        "install": (
            "its environment could not be made",
            "Does it have the `venv` module? sudo apt install python3-venv",
        ),
        "no armstat": ("it cannot count instructions", "Bring up an emulated board: `edgefer board up`."),
    }.get(kind, ("it could not do what was asked", ""))
    return AgentError(f"{device.name}: {said}: {message}", remedy=remedy, kind=kind)
