"""Processes from which VNNI is hidden: as near as a test comes to another CPU."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CPUINFO = Path("/proc/cpuinfo")


def hidden(folder: Path, *flags: str) -> dict[str, str]:
    """An environment whose processes do not see these flags of the CPU; skips where that cannot be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or "cpuid_fault" not in CPUINFO.read_text():
        pytest.skip("needs Linux on an x86-64 CPU that lets its CPUID instruction trap")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = folder / "hide_vnni.so"
    source = Path(__file__).with_name("hide_vnni.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", source, "-o", library], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "HIDDEN": " ".join(flags)}
    if subprocess.run([sys.executable, "-c", ""], env=environment, check=False).returncode:
        pytest.skip("this kernel does not let the CPUID instruction trap")
    return environment
