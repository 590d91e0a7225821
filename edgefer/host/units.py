"""Sizes as people write them: MB is 1,000,000 bytes, MiB 1,048,576, and they are never confused."""

from __future__ import annotations

import re
from decimal import Decimal

from edgefer.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(text: str) -> int:
    """Bytes of a size such as `8MB`, `7.5 MiB` or `8000000`.

    Raises:
        UsageError: it is no size, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].upper()) if match else None
    size = round(Decimal(match[1]) * unit) if match and unit else 0
    if size <= 0:
        raise UsageError(
            f"{text!r} is not a size", remedy="Write it like 8MB (8,000,000 bytes), 8MiB (8,388,608) or 8000000."
        )
    return size


def format_size(size: int, decimals: int = 2) -> str:
    """A size for people, in decimal units: `4.88 MB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.{decimals}f} {unit}"
    return f"{size} B"
