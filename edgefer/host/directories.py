"""Where edgefer keeps what is not the user's: caches and environments of its own."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """For what can be computed again: `$EDGEFER_HOME/cache`, or the user's cache directory."""
    return _directory("cache", "XDG_CACHE_HOME", ".cache")


def data_directory() -> Path:
    """For what was installed: `$EDGEFER_HOME/data`, or the user's data directory."""
    return _directory("data", "XDG_DATA_HOME", ".local/share")


def config_directory() -> Path:
    """For what the user set: `$EDGEFER_HOME/config`, or the user's configuration directory."""
    return _directory("config", "XDG_CONFIG_HOME", ".config")


def _directory(kind: str, variable: str, fallback: str) -> Path:
    if home := os.environ.get("EDGEFER_HOME"):
        return Path(home) / kind
    return Path(os.environ.get(variable) or Path.home() / fallback) / "edgefer"
