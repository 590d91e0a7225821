"""Brings emulated boards up and down.

A board is one process in mount, PID, UTS and IPC namespaces of its own; everything that it mounts and starts goes with
it.  Its files are a directory of its own and, read-only, the shared userland.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from edgefer.board.boards import HOST, USER, Board, describe, directory_of, find, load, save, start_time, state_file
from edgefer.board.cpus import CPUS, facts
from edgefer.board.userland import DATA, Userland, userland
from edgefer.errors import DeviceError, UsageError
from edgefer.host.environments import locked
from edgefer.host.progress import SILENT, Progress

UID = 1000
BOOT_TIMEOUT_S = 90.0
POLL_S = 0.2
LOG_LINES = 6
AS_ROOT = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
AS_USER = ("--user", "--map-root-user", *AS_ROOT)
ON_CONTAINERS = "A container needs --privileged (or CAP_SYS_ADMIN and no seccomp or AppArmor profile against mounts)."
BOOT_FAILURES = {
    10: ("this machine does not let the board mount its file systems", ON_CONTAINERS),
    11: (
        "no emulator can be registered with binfmt_misc",
        "Let root load it (modprobe binfmt_misc) and, for users before Linux 6.7, register QEMU on this machine: "
        "apt-get install qemu-user-static",
    ),
    12: (
        "binfmt_misc does not start the emulator",
        "Another registration for ARM64 may stand in the way: ls /proc/sys/fs/binfmt_misc",
    ),
}
NAMESPACES_FAILED = (
    "this machine does not let the board have namespaces of its own",
    f"Become root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, "
    f"kernel.apparmor_restrict_unprivileged_userns=0). {ON_CONTAINERS}",
)


def up(cpu: str, name: str | None = None, *, port: int | None = None, progress: Progress = SILENT) -> Board:
    """Bring up an emulated board and wait until it answers to SSH; a board that is up already is left alone.

    The first board of a user takes half a minute longer, for its userland is fetched.

    Args:
        cpu: a key of `CPUS`.
        name: the board's; that of the CPU, `a72`, if not given.
        port: where its SSH server listens on this machine; a free one if not given.
        progress: hears of the steps.

    Raises:
        UsageError: there is no such CPU, the name is none, or the board is up as something else.
        DeviceError: it cannot be made, or does not come up.
    """
    if cpu not in CPUS:
        raise UsageError(f"there is no emulated {cpu!r}", remedy=f"There are {', '.join(CPUS)}.")
    name = name or cpu.removeprefix("cortex-")
    directory = directory_of(name)
    _require_tools()
    with _only_one_at_a_time(directory):
        board = find(name)
        if board is not None and board.running:
            return _same(board, cpu, port)
        _remove(directory)
        shared = userland(progress)
        with progress.stage(f"emulated {cpu}"):
            try:
                return _start(describe(name, cpu, port or _free_port(), pid=0, started=0), shared, chosen=bool(port))
            except BaseException:
                _remove(directory)
                raise


def down(name: str) -> bool:
    """Remove a board: its processes, its mounts, its files.  What boards share stays in the cache.

    Returns:
        Whether there was one.

    Raises:
        UsageError: that is no name.
        DeviceError: it does not go.
    """
    directory = directory_of(name)
    if not directory.exists():
        return False
    with _only_one_at_a_time(directory):
        try:
            board = load(name)
        except DeviceError:
            board = None  # a state half written is that of a board that went with its `up`
        if board is not None and board.running:
            _kill(board)
        _remove(directory)
    return True


def _only_one_at_a_time(directory: Path) -> AbstractContextManager[None]:
    """Whoever brings a board up or down waits for another who does."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    return locked(directory.parent / ".lock")


def _require_tools() -> None:
    for tool, package in (("unshare", "util-linux"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")):
        if shutil.which(tool) is None:
            raise DeviceError(f"{tool} not found", remedy=f"apt-get install {package}")


def _same(board: Board, cpu: str, port: int | None) -> Board:
    if board.cpu != cpu or port not in (None, board.port):
        raise UsageError(
            f"the board {board.name} is up already, as {board.cpu} on port {board.port}",
            remedy=f"Choose another --name, or: edgefer board down {board.name}",
        )
    return board


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _start(board: Board, shared: Userland, *, chosen: bool) -> Board:
    if chosen:
        _require_port(board.port)
    _lay_out(board, shared)
    log = board.directory / "log"
    read_end, write_end = os.pipe()
    try:
        pid = _spawn(board, shared, log, read_end)
    finally:
        os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as answered, _killed_unless_done(pid):
        board = replace(board, pid=pid, started=start_time(pid) or 0)
        _wait_until_it_answers(board, log)
        save(board)
        answered.write(b"up\n")
    return board


def _require_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DeviceError(
                f"port {port} cannot be had: {error.strerror}", remedy="Leave out --port: a free one is found."
            ) from error


def _lay_out(board: Board, shared: Userland) -> None:
    """Make the directories and files that are the board's own."""
    root = board.rootfs
    home, temporary = root / "home" / USER, root / "tmp"
    own = [root / name for name in ("usr", "proc", "dev", "run", "root", "var/tmp", "var/log")]
    for directory in (*own, home, temporary):
        directory.mkdir(parents=True)
    for name in ("bin", "sbin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    shutil.copytree(shared.etc, root / "etc", symlinks=True)
    (home / "venv").symlink_to("/usr/lib/venv")
    host_key = root / "etc/ssh/host_ed25519"
    for key in (board.identity, host_key):
        _make_key(key, board.name)
    files = {
        Path("etc/passwd"): f"root:x:0:0::/root:/bin/bash\n{USER}:x:{UID}:{UID}::/home/{USER}:/bin/bash\n",
        Path("etc/group"): f"root:x:0:\n{USER}:x:{UID}:\n",
        Path("etc/hosts"): "127.0.0.1 localhost\n127.0.1.1 raspberrypi\n",
        Path("etc/hostname"): "raspberrypi\n",
        Path("etc/ssh/authorized_keys"): board.identity.with_suffix(".pub").read_text("ascii"),
        Path("etc/ssh/sshd_config"): _sshd_config(board),
        **facts(CPUS[board.cpu]),
    }
    for place, text in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text, "utf-8")
    board.known_hosts.write_text(f"[{HOST}]:{board.port} {host_key.with_suffix('.pub').read_text('ascii')}", "ascii")
    temporary.chmod(0o1777)
    if os.geteuid() == 0:  # a user's own files are `pi`'s without more ado
        for mine in (home, temporary, host_key):
            os.chown(mine, UID, UID)


def _make_key(path: Path, comment: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", os.fspath(path)]
    made = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if made.returncode != 0:
        raise DeviceError(f"{path}: ssh-keygen cannot make a key: {(made.stdout + made.stderr).strip()}")


def _sshd_config(board: Board) -> str:
    """The server runs as the user whom it lets in, so that it can do so in a user namespace too."""
    return (
        f"Port {board.port}\nListenAddress {HOST}\nHostKey /etc/ssh/host_ed25519\n"
        f"AllowUsers {USER}\nAuthorizedKeysFile /etc/ssh/authorized_keys\nAuthenticationMethods publickey\n"
        "UsePAM no\nUseDNS no\nPrintMotd no\nPidFile none\nMaxStartups 50\nMaxSessions 50\n"
        f"Subsystem sftp /usr/lib/openssh/sftp-server\nSetEnv QEMU_CPU={board.cpu}\n"
    )


def _spawn(board: Board, shared: Userland, log: Path, stdin: int) -> int:
    """Start the board's process, in a session of its own, so that Ctrl-C is not for it."""
    as_root = os.geteuid() == 0
    unshare = shutil.which("unshare") or "unshare"
    boot: list[str | Path] = ["sh", DATA / "boot.sh", shared.directory, board.rootfs, board.cpu]
    command = [unshare, *(AS_ROOT if as_root else AS_USER), *boot, "root" if as_root else "user"]
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    return os.posix_spawn(unshare, list(map(os.fspath, command)), environ, file_actions=actions, setsid=True)


@contextmanager
def _killed_unless_done(pid: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _end(pid)
        raise


def _wait_until_it_answers(board: Board, log: Path) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    command = ["ssh", *board.ssh_options, "-o", "ConnectTimeout=10", f"{board.user}@{board.host}", "uname", "-m"]
    while time.monotonic() < deadline:
        ended, status = os.waitpid(board.pid, os.WNOHANG)
        if ended:
            raise _why(os.waitstatus_to_exitcode(status), log)
        try:
            asked = subprocess.run(
                command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            continue
        if asked.stdout.strip() == "aarch64":
            return
        time.sleep(POLL_S)
    raise DeviceError(
        f"the emulated board did not answer within {BOOT_TIMEOUT_S:g} s",
        remedy=f"{_tail(log)}Is this machine overloaded?  ssh said: {asked.stderr.strip()}",
    )


def _why(code: int, log: Path) -> DeviceError:
    """What the exit code of a board that went down by itself means."""
    if "unshare: unshare failed" in log.read_text("utf-8", errors="replace"):
        cause, remedy = NAMESPACES_FAILED
    else:
        cause, remedy = BOOT_FAILURES.get(code, ("the emulated board's SSH server did not start", ""))
    return DeviceError(cause, remedy=f"{_tail(log)}{remedy}")


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return "".join(f"| {line}\n  " for line in lines)


def _kill(board: Board) -> None:
    _end(board.pid)
    deadline = time.monotonic() + 10
    while board.running:
        if time.monotonic() > deadline:
            raise DeviceError(
                f"{board.name}: process {board.pid} does not end", remedy="It may be another user's; become that user."
            )
        time.sleep(0.05)


def _end(pid: int) -> None:
    """Kill a board's process, with which the kernel ends its namespaces; bury it if it is our child."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError, PermissionError):
        pass


def _remove(directory: Path) -> None:
    state_file(directory).unlink(missing_ok=True)
    if directory.exists():
        shutil.rmtree(directory)
