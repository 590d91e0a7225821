"""What this machine has and lacks for edgefer: a list of checks, each a function that returns one finding."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgefer.host.detector_weights import DETECTOR, kept_weights
from edgefer.host.directories import cache_directory, data_directory
from edgefer.host.environments import ENVIRONMENTS, Environment
from edgefer.host.saturation import EXACT, sums_saturate
from edgefer.host.units import format_size

Status: TypeAlias = Literal["ok", "warn", "missing"]

CPUINFO = Path("/proc/cpuinfo")
CPU_LISTS = Path("/sys/devices/system/cpu")
ROOM_BYTES = 500_000_000
RUNTIMES = {
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "opencv-python-headless": "cv2",
    "flatbuffers": "flatbuffers",
    "threadpoolctl": "threadpoolctl",
    "click": "click",
}
"""What a plain install brings, and the modules by which it is known to work."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at.
        status: `ok`; `warn` if results may suffer; `missing`.
        detail: version, path or reason.
        remedy: the command or action that mends it, `""` if nothing needs mending.
        optional: whether edgefer's main commands work without it.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    optional: bool = False


Check: TypeAlias = Callable[[], Finding]


def examine() -> Iterator[Finding]:
    """Run every check, in the order in which a user would mend things."""
    for check in checks():
        yield check()


def checks() -> Sequence[Check]:
    """All checks."""
    return (
        check_python,
        *(partial(check_package, distribution, module) for distribution, module in RUNTIMES.items()),
        check_torch,
        *(partial(check_environment, environment) for environment in ENVIRONMENTS.values()),
        check_detector,
        check_int8_instructions,
        check_cpu_lists,
        *(
            partial(check_room, name, path)
            for name, path in (
                ("cache directory", cache_directory()),
                ("data directory", data_directory()),
                ("temporary directory", Path(tempfile.gettempdir())),
            )
        ),
    )


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing that edgefer cannot do without is missing."""
    return not any(finding.status == "missing" and not finding.optional for finding in findings)


def to_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain data for `--json`."""
    return {"schema": "edgefer.doctor/1", "healthy": healthy(findings), "findings": [asdict(f) for f in findings]}


def check_python() -> Finding:
    """Whether this Python is one that edgefer is tested with."""
    detail = f"{platform.python_version()} ({sys.executable}), {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", detail)
    return Finding("python", "warn", detail, "Run edgefer under Python 3.11, 3.12 or 3.13, which it is tested with.")


def check_package(distribution: str, module: str) -> Finding:
    """Whether a package that edgefer depends on is installed and can be imported."""
    remedy = f"python -m pip install --force-reinstall {distribution}"
    try:
        importlib.import_module(module)
        return Finding(distribution, "ok", importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Finding(distribution, "ok", "of unknown version")
    except ModuleNotFoundError as error:
        return Finding(distribution, "missing", str(error), remedy)
    except Exception as error:  # a broken native library may raise anything
        return Finding(distribution, "missing", f"does not import: {type(error).__name__}: {error}", remedy)


def check_torch() -> Finding:
    """Whether PyTorch is there; it is found, not imported, because that takes seconds."""
    if importlib.util.find_spec("torch") is None:
        detail = (
            "not installed; needed only for networks that are PyTorch modules (`edgefer families`), "
            "`--calibration synthetic`, and `--effort balanced` or `best`"
        )
        return Finding("torch", "missing", detail, "python -m pip install 'edgefer[torch]'", optional=True)
    return Finding("torch", "ok", importlib.metadata.version("torch"), optional=True)


def check_environment(environment: Environment) -> Finding:
    """Whether an environment that `edgefer doctor --install` makes is there."""
    name = f"{environment.name} environment"
    if environment.state == "ready":
        return Finding(name, "ok", str(environment.path), optional=True)
    detail = f"{environment.state}; needed only for `--tflite-backend {environment.name}`"
    return Finding(name, "missing", detail, environment.remedy, optional=True)


def check_detector() -> Finding:
    """Whether the face detector of `edgefer run` was fetched."""
    name = "face detector"
    if (kept := kept_weights()).is_file():
        return Finding(name, "ok", str(kept), optional=True)
    detail = "not fetched; `edgefer run` fetches it, once, unless it is given another"
    return Finding(name, "missing", detail, f"edgefer doctor --install {DETECTOR}", optional=True)


def check_int8_instructions() -> Finding:
    """How fast the CPU multiplies integers exactly: its instructions, and whether ONNX Runtime's sums saturate."""
    name = "int8 instructions"
    flags = _cpu_flags()
    found = ", ".join(sorted(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}))
    if not found and "asimd" in flags:
        found = "NEON without dot product (as a Raspberry Pi 4), which is slower"
    told = found or ("no VNNI" if flags else f"{CPUINFO} does not tell")
    if sums_saturate():
        return Finding(name, "ok", f"{told}: ONNX Runtime is exact with {EXACT[0]}=1, which edgefer sets, but slower")
    return Finding(name, "ok", f"{told}: ONNX Runtime is exact as it is")


def check_cpu_lists() -> Finding:
    """Whether LiteRT can count the CPUs; where it cannot, it silently picks other kernels."""
    name = "CPU lists"
    if sys.platform != "linux":
        return Finding(name, "ok", "not needed on this system")
    unreadable = [path for path in (CPU_LISTS / "possible", CPU_LISTS / "present") if not _readable(path)]
    if not unreadable:
        return Finding(name, "ok", str(CPU_LISTS))
    return Finding(
        name,
        "warn",
        f"{', '.join(map(str, unreadable))} cannot be read: LiteRT silently uses other kernels, with other speed",
        "Mount /sys in this container or sandbox (read-only is enough).",
    )


def check_room(name: str, path: Path) -> Finding:
    """Whether a directory can be written to and its disk has room."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    remedy = "Make room, or set EDGEFER_HOME (TMPDIR for temporary files) to a directory on another disk."
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding(name, "warn", f"{path} cannot be written to: {error.strerror or error}", remedy)
    detail = f"{path}, {format_size(free)} free"
    return Finding(name, "ok", detail) if free >= ROOM_BYTES else Finding(name, "warn", detail, remedy)


def _cpu_flags() -> set[str]:
    """Instruction set extensions of the first CPU, as Linux names them."""
    try:
        lines = CPUINFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next(
        (set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), set()
    )


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_text("ascii").strip())
    except (OSError, UnicodeDecodeError):
        return False
