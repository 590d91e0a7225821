"""Quantities with their units as text, so that 0.01, 1 % and 1 point are never confused.

    "8 MB"  "2 ms"  "160 M instructions"  "30 fps"  "95 %"  0.55        a level
    "10 kB" "0.2 ms" "1 %"  "1.10x"  "0.5 points"  0.02       a change

Inside, shares and their changes are in percent and points, times in ms, sizes in bytes, relative changes are factors
less one.  A correlation or an F1 has no unit, and is written as a plain number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgefer.host.units import format_size

_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(.*?)\s*")


@dataclass(frozen=True)
class Dimension:
    """What kind of quantity it is.

    Attributes:
        levels: unit to factor, of the quantity itself.
        changes: the same, of a change of it.
        is_relative: whether a change may be a share of the quantity, as `1 %` or `1.10x`.
        write: a level for people, with so many digits more than are usual.
    """

    levels: Mapping[str, float]
    changes: Mapping[str, float]
    is_relative: bool
    write: Callable[[float, int], str]

    def unit(self, *, is_change: bool) -> str:
        """What numbers are counted in."""
        return next(unit for unit, factor in (self.changes if is_change else self.levels).items() if factor == 1)

    def write_change(self, change: float, *, relative: bool, more: int = 0) -> str:
        """A change for people, with its sign, and so many digits more than are usual."""
        if relative:
            return f"{100 * change:+.{2 + more}f} %"
        if "points" in self.changes:
            return f"{change:+.{2 + more}f} points"
        return f"{'-' if change < 0 else '+'}{self.write(abs(change), more)}"


@dataclass(frozen=True)
class Quantity:
    """A quantity that someone wrote.

    Attributes:
        value: bytes, ms, instructions, percent, points or a plain number; a share of the whole where `relative`.
        text: as it was written.
        relative: whether it is a share of what it changes: 0.01 for `1 %` and `1.01x`.
    """

    value: float
    text: str
    relative: bool = False


def level(written: object, dimension: Dimension) -> Quantity:
    """A quantity with its unit.

    Raises:
        ValueError: it has no unit or another one; the message names the choices.
    """
    return _read(written, dimension.levels, _choices(dimension.levels))


def change(written: object, dimension: Dimension) -> Quantity:
    """A change of a quantity with its unit.

    Raises:
        ValueError: it has no unit or another one; the message names the choices.
    """
    choices = _choices({**dimension.changes, **({"%": 1, "x": 1} if dimension.is_relative else {})})
    if isinstance(written, str) and dimension.is_relative and (match := _QUANTITY.fullmatch(written)):
        if match[2] == "%":
            return Quantity(float(match[1]) / 100, written, relative=True)
        if match[2] == "x":
            if float(match[1]) < 1:
                raise ValueError(f"{written!r} is less than 1x: write 1.10x for a tenth more")
            return Quantity(float(match[1]) - 1, written, relative=True)
    return _read(written, dimension.changes, choices)


def _read(written: object, units: Mapping[str, float], choices: str) -> Quantity:
    if "" in units:
        if isinstance(written, int | float) and not isinstance(written, bool) and 0 <= written < float("inf"):
            return Quantity(float(written), f"{written:g}")
        raise ValueError(f"{written!r} is not a plain number: this quantity has no unit, write {choices}")
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise ValueError(f"{written!r} has no unit: write {choices}")
    match = _QUANTITY.fullmatch(written) if isinstance(written, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"{written!r} is not such a quantity: write {choices}")
    return Quantity(float(match[1]) * units[match[2]], match[0].strip())


def _choices(units: Mapping[str, float]) -> str:
    if "" in units:
        return "a number such as 0.05"
    names = [unit for unit in units if unit != "points"]
    return " or ".join(f'"1.10{unit}"' if unit == "x" else f'"1 {unit}"' for unit in names)


def _write_count(value: float, more: int) -> str:
    for unit, factor in (("G ", 1e9), ("M ", 1e6), ("k ", 1e3)):
        if value >= factor:
            return f"{value / factor:.{2 + more}f} {unit}instructions"
    return f"{value:.0f} instructions"


_SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_COUNTS = {"instructions": 1.0, "k instructions": 1e3, "M instructions": 1e6, "G instructions": 1e9}
_POINTS = {"points": 1.0, "point": 1.0}

SIZE = Dimension(_SIZES, _SIZES, True, lambda value, more: format_size(round(value), 2 + more))
TIME = Dimension(_TIMES, _TIMES, True, lambda value, more: f"{value:.{3 + more}g} ms")
COUNT = Dimension(_COUNTS, _COUNTS, True, _write_count)
RATE = Dimension({"fps": 1.0}, {"fps": 1.0}, True, lambda value, more: f"{value:.{6 + more}g} fps")
SHARE = Dimension({"%": 1.0}, _POINTS, False, lambda value, more: f"{value:.{2 + more}f} %")
POINTS = Dimension(_POINTS, _POINTS, False, lambda value, more: f"{value:.{2 + more}f} points")
SCORE = Dimension({"": 1.0}, {"": 1.0}, False, lambda value, more: f"{value:.{4 + more}f}")
