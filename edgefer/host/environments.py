"""Python environments that edgefer makes for tools whose pinned dependencies cannot live beside its own.

An environment is complete when its marker file, which is written last, holds the digest of the requirements
that this version of edgefer wants; anything else is made afresh.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edgefer.errors import EdgeferError, UsageError
from edgefer.host.directories import data_directory
from edgefer.host.interruption import interrupts_deferred
from edgefer.host.progress import SILENT, Progress
from edgefer.host.units import format_size

State: TypeAlias = Literal["ready", "outdated", "missing"]

PIP_INSTALL = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps", "--only-binary=:all:"]
INSTALL_TIMEOUT_S = 3600.0
LOG_LINES = 8
LOG_COLUMNS = 300


@dataclass(frozen=True)
class Environment:
    """An isolated Python environment for one tool.

    Attributes:
        name: the tool's; also what `edgefer doctor --install` takes.
        python: the Python series that the pinned versions have wheels for.
        requirements: a complete list of pinned requirements.
        probe: Python code that succeeds only if the tool can work.
        disk_bytes: room that it takes once installed.
    """

    name: str
    python: str
    requirements: Path
    probe: str
    disk_bytes: int

    @property
    def path(self) -> Path:
        """The directory it lives in, made or not."""
        return data_directory() / "environments" / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.path / "bin" / "python"

    @property
    def marker(self) -> Path:
        """The file that says what is installed."""
        return self.path / "edgefer-requirements.sha256"

    @property
    def digest(self) -> str:
        """What the marker of a complete environment holds."""
        return hashlib.sha256(self.python.encode() + self.requirements.read_bytes()).hexdigest()

    @property
    def state(self) -> State:
        """Whether it can be used."""
        try:
            return "ready" if self.marker.read_text("ascii") == self.digest else "outdated"
        except OSError:
            return "missing"

    @property
    def remedy(self) -> str:
        """How the user makes it."""
        return f"edgefer doctor --install {self.name}"

    def require(self) -> None:
        """Make sure that it can be used.

        Raises:
            UsageError: it is missing, or of another edgefer's making.
        """
        if self.state != "ready":
            raise UsageError(f"the environment that {self.name} runs in is {self.state}", remedy=f"Run: {self.remedy}")

    def run(self, arguments: Sequence[str | Path], *, cwd: Path, timeout_s: float) -> None:
        """Run its Python, isolated from the caller's, with `cwd` for temporary files too.

        Raises:
            EdgeferError: it failed or took longer than `timeout_s`; the message ends with what it said last.
        """
        environ = {
            **_clean_environ(),
            "PATH": os.pathsep.join([str(self.interpreter.parent), os.environ.get("PATH", os.defpath)]),
            "TMPDIR": str(cwd),
        }
        run_logged([self.interpreter, "-I", *arguments], self.name, cwd=cwd, environ=environ, timeout_s=timeout_s)

    def install(self, progress: Progress = SILENT) -> None:
        """Make it, or make it afresh; an interrupted or failed attempt is never taken for a complete one.

        Raises:
            UsageError: there is no Python of the series that it needs.
            EdgeferError: no room on the disk, or a step failed.
        """
        python = find_python(self.python)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_suffix(".lock")):
            shutil.rmtree(self.path, ignore_errors=True)
            if (free := shutil.disk_usage(self.path.parent).free) < self.disk_bytes:
                raise EdgeferError(
                    f"{self.path}: {self.name} needs {format_size(self.disk_bytes)}, but {format_size(free)} are free",
                    remedy="Make room, or set EDGEFER_HOME to a directory on a larger disk.",
                )
            for step, command in self._steps(python):
                with progress.stage(step):
                    run_logged(
                        command, step, cwd=self.path.parent, environ=_clean_environ(), timeout_s=INSTALL_TIMEOUT_S
                    )
            self.marker.write_text(self.digest, "ascii")

    def _steps(self, python: str) -> Iterator[tuple[str, list[str | Path]]]:
        yield f"making {self.path}", [python, "-m", "venv", self.path]
        yield (
            f"installing {self.name} and what it needs ({format_size(self.disk_bytes)})",
            [self.interpreter, *PIP_INSTALL, "-r", self.requirements],
        )
        yield f"checking that {self.name} works", [self.interpreter, "-I", "-c", self.probe]


ONNX2TF = Environment(
    name="onnx2tf",
    python="3.11",
    requirements=Path(__file__).parents[1] / "emit" / "onnx2tf_requirements.txt",
    probe="import onnx2tf, onnxruntime, tensorflow.lite.tools.flatbuffer_utils",
    disk_bytes=2_000_000_000,
)
ENVIRONMENTS: Mapping[str, Environment] = {environment.name: environment for environment in (ONNX2TF,)}


def find_python(series: str) -> str:
    """A Python interpreter of `series` (such as "3.11"): the running one if it fits, else one on PATH.

    Raises:
        UsageError: there is none.
    """
    for candidate in (sys.executable, shutil.which(f"python{series}")):
        if candidate and _series(candidate) == series:
            return candidate
    raise UsageError(
        f"no Python {series} found; this is {sys.version.split()[0]}",
        remedy=f"Install Python {series} so that `python{series}` is on PATH; edgefer itself may stay where it is.",
    )


def run_logged(
    command: Sequence[str | Path], what: str, *, cwd: Path, environ: Mapping[str, str], timeout_s: float
) -> None:
    """Run a command in a process group of its own, keeping its output in a log only if it fails.

    The whole group is killed on a time-out and on any exception, Ctrl-C included.

    Raises:
        EdgeferError: the command could not be started, failed, or took longer than `timeout_s`; `what` names it,
            the remedy shows the log's last lines and where it is.
    """
    descriptor, name = tempfile.mkstemp(prefix="edgefer-", suffix=".log")
    log = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as output:
            failure = _run_group(command, output.fileno(), cwd, environ, timeout_s)
    except BaseException:
        log.unlink()
        raise
    if failure:
        raise EdgeferError(f"{what}: {failure}", remedy=f"{_tail(log)}The whole log: {log}")
    log.unlink()


def _run_group(
    command: Sequence[str | Path], output: int, cwd: Path, environ: Mapping[str, str], timeout_s: float
) -> str:
    process = None
    try:
        with interrupts_deferred():
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        code = process.wait(timeout_s)
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror or error}"
    except BaseException as error:
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return f"stopped, because it took longer than {timeout_s:g} s"
        raise
    if code < 0:
        return f"killed by signal {-code} ({signal.strsignal(-code)})"
    return f"failed with exit code {code}" if code else ""


def _tail(log: Path) -> str:
    """The last lines of a log, without colour codes and blank lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text("utf-8", errors="replace"))
    lines = [line[:LOG_COLUMNS] for line in text.splitlines() if line.strip()]
    return "".join(f"| {line}\n  " for line in lines[-LOG_LINES:])


def _series(python: str) -> str:
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _clean_environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; it goes with the process."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
