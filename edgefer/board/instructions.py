"""Counts of ARM instructions that a program executes on an emulated board: a cost that repeats where times do not.

On the board, `armstat PROGRAM ARGS...` runs a program and counts.  A program that wants to know what one part of it
costs takes snapshots, by closing file descriptors that cannot be; without armstat that does nothing:

    def snapshot(k):                # 0 <= k < 65536
        try:
            os.close(0x5EED0000 + k)
        except OSError:
            pass

    for k in range(frames + 1):
        snapshot(k)                 # what frame k costs: counts.between(k, k + 1)
        invoke()

`INSN_OUT=FILE armstat ...` writes one line of JSON per snapshot, and one at the end, to FILE:

    {"mark":"snapshot","k":0,"int8_dot":0,"int_multiply":91203,...}
    {"mark":"exit","k":0,...}

Counts are exact for one thread; a program of several loses some.  They know nothing of caches, or of how many
instructions a core finishes in a cycle.  Two runs differ by less than 0.1 % if PYTHONHASHSEED is set.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgefer.errors import InputError

CLASSES: Mapping[str, str] = {
    "int8_dot": "dot and matrix products of int8 vectors (SDOT, UDOT, SMMLA)",
    "int_multiply": "other multiplications of integer vectors (SMULL, SMLAL, MLA, SQRDMULH)",
    "int_vector": "all else that is done to integer vectors: sums, shifts, narrowing, shuffles, logic",
    "float_vector": "arithmetic and conversion of float vectors (FMLA, FADD, SCVTF)",
    "float_scalar": "arithmetic and conversion of single floats",
    "load": "loads, of any register, atomic ones included",
    "store": "stores, of any register",
    "integer": "arithmetic and logic of general registers, addresses included",
    "branch": "branches, calls and returns",
    "other": "system instructions, prefetches, cryptography, SVE and SME",
}
"""What is counted apart, by its key in `by_class`."""


@dataclass(frozen=True)
class Instructions:
    """How many instructions of each class, a key of `CLASSES`, were executed; a median need not be whole."""

    by_class: Mapping[str, float]

    @property
    def total(self) -> float:
        """Instructions of all classes."""
        return sum(self.by_class.values())

    def __sub__(self, earlier: Instructions) -> Instructions:
        """What was executed after `earlier`."""
        return Instructions({name: count - earlier.by_class[name] for name, count in self.by_class.items()})

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"total": self.total, "by_class": dict(self.by_class)}


@dataclass(frozen=True)
class Counts:
    """What one run under armstat wrote.

    Attributes:
        snapshots: counts since the program's start, by the number of the snapshot.
        exit: counts of the whole program; None if it was killed.
    """

    snapshots: Mapping[int, Instructions]
    exit: Instructions | None

    def between(self, first: int, last: int) -> Instructions:
        """What was executed between two snapshots.

        Raises:
            InputError: one was not taken.
        """
        for number in (first, last):
            if number not in self.snapshots:
                raise InputError(f"instruction counts: snapshot {number} is missing: the program ended before it")
        return self.snapshots[last] - self.snapshots[first]


def parse(text: str) -> Counts:
    """Read what armstat wrote; a number that was used twice keeps the later snapshot.

    Raises:
        InputError: a line is not armstat's.
    """
    snapshots: dict[int, Instructions] = {}
    end = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            counted = Instructions({name: _count(record[name]) for name in CLASSES})
            if record["mark"] == "snapshot":
                snapshots[_count(record["k"])] = counted
            else:
                end = counted
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"instruction counts: line {number} is not armstat's: {line[:60]!r}") from error
    return Counts(snapshots, end)


def per_frame(counts: Counts, frames: Sequence[int]) -> Instructions:
    """The median frame's instructions, class by class, where snapshot k was taken before frame k and k + 1 after it.

    The median leaves out what a rare frame does besides, such as collecting garbage.

    Raises:
        InputError: a snapshot was not taken.
    """
    each = [counts.between(frame, frame + 1) for frame in frames]
    return Instructions({name: statistics.median(one.by_class[name] for one in each) for name in CLASSES})


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value
