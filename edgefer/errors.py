"""Errors a user can act on: one line that names the file, the cause and the remedy.

Every error that edgefer raises on purpose derives from `EdgeferError` and knows the exit code that
the command line ends with.  Anything else that escapes is a bug.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

NOT_THE_FILE = "Was it downloaded completely, and is it the file itself rather than a page or a Git LFS pointer?"
"""Remedy for a file whose content is of no format that it could have."""

NOT_FORESEEN = "edgefer fails on it, as it is damaged, or as nobody foresaw it"
"""Cause of what is not the file's fault, or not known to be."""


class EdgeferError(Exception):
    """Base class; `exit_code` is what the command line ends with.

    Attributes:
        message: the file, the node, the cause.
        remedy: what the user can do.
        detail: what another library said, for those who ask for more; empty where none did.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(EdgeferError):
    """The request itself is wrong: options that contradict each other, a missing extra."""

    exit_code = 2


class InputError(EdgeferError):
    """A file is unreadable, unsupported, malformed or hostile."""

    exit_code = 3


class DeviceError(EdgeferError):
    """A board cannot be reached, or failed."""

    exit_code = 4


class RefusedError(InputError):
    """A runtime does not open or run a model, or ends its process with it."""


class FaultError(InputError):
    """edgefer itself fails on a file: one that nothing should be made of, or that it ought to read."""


@contextmanager
def about(file: str | Path) -> Iterator[None]:
    """Bad input found in this block is in this file: where an error does not name it, it is put before it.

    What no one foresaw in such a file is an error like any other, and tells where it was as its detail.
    """
    try:
        yield
    except InputError as error:
        if str(file) not in error.message:
            error.message = f"{file}: {error.message}"
            error.args = (error.message,)
        raise
    except _UNFORESEEN as error:
        raise FaultError(
            f"{file}: {NOT_FORESEEN}",
            remedy="If other tools open it, please report this, with what -v shows.",
            detail=traceback.format_exc(),
        ) from error


_UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class EvidenceError(EdgeferError):
    """What was brought is sound, but too little to judge by."""

    exit_code = 5


class UnsupportedOperatorError(InputError):
    """The graph holds an operator that an emitter does not know."""

    def __init__(self, node: str, op: str, where: str, *, remedy: str) -> None:
        super().__init__(f"node {node!r}: operator {op} is not supported by {where}", remedy=remedy)
        self.node = node
        self.op = op
