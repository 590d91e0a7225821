"""Finds what comes with edgefer: converters, calibration sets and networks, in a checkout as in a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_directory(kind: Literal["converters", "calibration"]) -> Path:
    """The directory of that name: inside the installed package, else at the checkout's root."""
    installed = _PACKAGE / "_bundled" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def bundled_networks() -> dict[str, Path]:
    """Weights files of the networks that come with edgefer, by name."""
    return {path.stem: path for path in sorted((_PACKAGE / "networks").glob("*/*.safetensors"))}
