"""Whether a worker is fit to take part: versions that results depend on, asked, even where edgefer is not installed.

Dask sends this module to them by its text, so it imports nothing but Python's own.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("edgefer", "ai-edge-litert", "numpy", "onnxruntime", "opencv-python-headless")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Of these packages, Python, and the kind of processor; what is not there is `none`."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "processor": platform.machine()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def worker_name(dask_worker: Any) -> str:
    """What its owner calls a worker; Dask gives it."""
    return str(dask_worker.name)


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """What is other there, for people; empty where nothing is."""
    others = [(name, there.get(name, "none"), own) for name, own in here.items() if there.get(name) != own]
    return ", ".join(f"{name} {other} (here {own})" for name, other, own in others)
