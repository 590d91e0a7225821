"""What all emulated boards share, made once: Debian's arm64 userland, Python with the runtimes, and the emulator.

Everything is unpacked from the packages of this machine's own Debian and from wheels into the user's cache; nothing is
installed on this machine, and no package's scripts run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgefer.errors import DeviceError, EdgeferError
from edgefer.host.directories import cache_directory
from edgefer.host.environments import locked, run_logged
from edgefer.host.progress import Progress
from edgefer.host.units import format_size

DATA = Path(__file__).parent / "data"
ARCHITECTURE = "amd64"
RUNTIMES = ("ai-edge-litert", "onnxruntime")
BOARD_PACKAGES = (
    *("bash", "coreutils", "dash", "grep", "procps", "sed", "util-linux"),
    *("libgomp1", "libpython3-stdlib", "libstdc++6", "openssh-server", "openssh-sftp-server", "python3"),
)
EMULATOR_PACKAGES = ("libc6-dev", "qemu-user", "qemu-user-static", "tcc")
GLIBC_TAGS = ("2014", "_2_17", "_2_26", "_2_27", "_2_28", "_2_34", "_2_35", "_2_36")
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
DISK_BYTES = 1_000_000_000
STEP_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Userland:
    """What boards share.

    Attributes:
        directory: holds `usr`, `etc` and the emulator `qemu`.
    """

    directory: Path

    @property
    def etc(self) -> Path:
        """Debian's own /etc, of which every board has a copy."""
        return self.directory / "etc"


def userland(progress: Progress) -> Userland:
    """The shared userland, made if this user has none that fits these scripts and the runtimes installed here.

    Raises:
        DeviceError: it cannot be made: no Debian, no network, no pip, no room.
    """
    wheels = [f"{name}=={version(name)}" for name in RUNTIMES]
    parent = cache_directory() / "board"
    finished = parent / _digest(wheels)
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent / "lock"):
        if not finished.exists():
            _check(parent)
            for left in parent.glob("making-*"):  # by one that was killed, for the lock is ours
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix="making-", dir=parent) as scratch:
                _make(Path(scratch), wheels, progress)
                (Path(scratch) / "root").rename(finished)
    return Userland(finished)


def _digest(wheels: Sequence[str]) -> str:
    """Names a userland by all that decides what is in it."""
    digest = hashlib.sha256("\n".join(wheels).encode())
    for file in (Path(__file__), *sorted(DATA.iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _check(parent: Path) -> None:
    if platform.machine() != "x86_64":
        raise DeviceError(
            f"the emulated board needs an x86-64 machine, this is {platform.machine()}",
            remedy="An ARM machine can be measured itself: edgefer benchmark BUNDLE --device local",
        )
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            raise DeviceError(
                f"{tool} not found: the emulated board is made of Debian packages",
                remedy="Run this on Debian 12, or in a container of it (debian:bookworm).",
            )
    if importlib.util.find_spec("pip") is None:
        raise DeviceError(
            f"{sys.executable} has no pip, which fetches the board's wheels",
            remedy=f"{sys.executable} -m ensurepip",
        )
    if (free := shutil.disk_usage(parent).free) < DISK_BYTES:
        raise DeviceError(
            f"{parent}: the emulated board needs {format_size(DISK_BYTES)}, but {format_size(free)} are free",
            remedy="Make room, or set EDGEFER_HOME to a directory on a larger disk.",
        )


def _make(scratch: Path, wheels: Sequence[str], progress: Progress) -> None:
    root, host, apt = scratch / "root", scratch / "host", scratch / "apt"
    network = "See that this machine reaches its package sources (proxy, DNS), then try again."
    with progress.stage("Debian arm64 packages"):
        environ = {**os.environ, "APT_CONFIG": str(_apt_config(apt)), "DEBIAN_FRONTEND": "noninteractive"}
        names = [f"{name}:arm64" for name in BOARD_PACKAGES] + [f"{name}:{ARCHITECTURE}" for name in EMULATOR_PACKAGES]
        _run(["apt-get", "-qq", "update"], "Debian's package lists", network, scratch, environ)
        fetch = ["apt-get", "-qq", "-y", "--download-only", "install", *names]
        _run(fetch, "Debian's arm64 packages", network, scratch, environ)
        root.mkdir()
        _run(["sh", DATA / "unpack.sh", apt / "archives", root, host], "unpacking the board's packages", "", scratch)
    with progress.stage("Python wheels for the board"):
        _install_wheels(root, wheels, network, scratch)
    with progress.stage("emulator"):
        _install_emulator(root, host)
    for name, script in (("armstat", "armstat.sh"), ("vcgencmd", "vcgencmd.sh")):
        shutil.copy(DATA / script, root / "usr/bin" / name)
        (root / "usr/bin" / name).chmod(0o755)


def _apt_config(directory: Path) -> Path:
    """Make apt work in `directory` alone, as if nothing were installed, with this machine's Debian sources.

    Raises:
        DeviceError: this machine has none.
    """
    source = next((path for path in SOURCES if path.is_file() and path.stat().st_size), None)
    if source is None:
        raise DeviceError(
            f"no Debian package sources found in {' or '.join(map(str, SOURCES))}",
            remedy="Run this on Debian 12, or in a container of it (debian:bookworm).",
        )
    for partial in ("lists/partial", "archives/partial"):
        (directory / partial).mkdir(parents=True)
    (directory / "status").touch()
    copied = shutil.copy(source, directory)
    config = directory / "apt.conf"
    config.write_text(
        f'APT::Architecture "{ARCHITECTURE}"; APT::Architectures {{ "{ARCHITECTURE}"; "arm64"; }};\n'
        'APT::Install-Recommends "false"; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";\n'
        'Debug::NoLocking "1";\n'
        f'Dir::State "{directory}"; Dir::State::status "{directory}/status"; Dir::State::lists "{directory}/lists";\n'
        f'Dir::Cache "{directory}"; Dir::Cache::archives "{directory}/archives"; Dir::Log "{directory}";\n'
        f'Dir::Etc::sourcelist "{copied}"; Dir::Etc::sourceparts "/dev/null";\n'
        'Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";\n',
        "utf-8",
    )
    return config


def _install_wheels(root: Path, wheels: Sequence[str], network: str, scratch: Path) -> None:
    """Make the board's virtual environment in /usr/lib/venv, which every board's ~/venv leads to."""
    python = (root / "usr/bin/python3").readlink().name  # python3.11
    series = python.removeprefix("python")
    environment = root / "usr/lib/venv"
    packages = environment / "lib" / python / "site-packages"
    options: list[str | Path] = ["--target", packages, "--only-binary=:all:", "--no-compile", "--implementation", "cp"]
    options += ["--python-version", series]
    for abi in (f"cp{series.replace('.', '')}", "abi3", "none"):
        options += ["--abi", abi]
    for tag in GLIBC_TAGS:
        options += ["--platform", f"manylinux{tag}_aarch64"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    _run([*pip, *options, *wheels], f"wheels of {' and '.join(wheels)} for the board", network, scratch)
    (environment / "bin").mkdir()
    for name in ("python", "python3", python):
        (environment / "bin" / name).symlink_to(f"/usr/bin/{python}")
    (environment / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {series}\n"
    )
    with suppress(
        EdgeferError
    ):  # only the same series writes what the board can read; without it, Python starts slowly
        compiler = sys.executable if sys.version_info[:2] == tuple(map(int, series.split("."))) else python
        sources: list[Path] = [
            root / "usr/lib" / python,
            packages / "numpy",
            packages / "ai_edge_litert",
            packages / "onnxruntime",
        ]
        compile_all: list[str | Path] = [compiler, "-m", "compileall", "-q", "-j0", "-s", root, "-p", "/", *sources]
        run_logged(compile_all, "compiling Python", cwd=scratch, environ=os.environ, timeout_s=STEP_TIMEOUT_S)


def _install_emulator(root: Path, host: Path) -> None:
    """Put the emulator beside `usr`, and into `usr` the one that counts, with this machine's libraries and the plugin.

    Only a dynamically linked QEMU takes plugins, and only a static one serves a whole userland.
    """
    home = root / "usr/lib/armstat"
    home.mkdir()
    shutil.copy(host / "usr/bin/qemu-aarch64-static", root / "qemu")
    shutil.copy(host / "usr/bin/qemu-aarch64", home / "qemu")
    libraries = [path for parent in ("lib", "usr/lib") for path in (host / parent).glob("*-linux-gnu/*.so*")]
    for library in libraries:
        if library.name.startswith("ld-linux"):
            shutil.copy(library, home / "ld.so")
        elif library.is_file():
            shutil.copy(library, home)
    system = next((host / "usr/include").glob("*-linux-gnu"))
    compiler = host / "usr/lib" / system.name / "tcc"
    includes = [compiler / "include", system.parent, system]
    command: list[str | Path] = [
        home / "ld.so",
        "--library-path",
        home,
        host / "usr/bin/tcc",
        f"-B{compiler}",
        "-nostdinc",
    ]
    command += [f"-I{directory}" for directory in includes]
    command += ["-nostdlib", "-shared", "-o", home / "insn.so", DATA / "insn.c"]
    _run(command, "the instruction counter", "", host)


def _run(
    command: Sequence[str | Path], what: str, remedy: str, cwd: Path, environ: Mapping[str, str] | None = None
) -> None:
    try:
        run_logged(command, what, cwd=cwd, environ=environ or os.environ, timeout_s=STEP_TIMEOUT_S)
    except EdgeferError as error:
        raise DeviceError(error.message, remedy="\n  ".join(filter(None, (remedy, error.remedy)))) from error
