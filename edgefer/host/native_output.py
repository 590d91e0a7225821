"""Keeping native libraries' chatter away from the user: it is written to file descriptors 1 and 2, past Python."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import TextIO

_CAPTURE = {1: Lock(), 2: Lock()}


def captured_stderr() -> AbstractContextManager[Callable[[], str]]:
    """Keep what native code writes to file descriptor 2; the value returns what came since its last call.

    The descriptor belongs to the process, so what other threads write meanwhile is kept from the user too.
    """
    return _captured(2, sys.stderr)


def captured_stdout() -> AbstractContextManager[Callable[[], str]]:
    """The same of file descriptor 1."""
    return _captured(1, sys.stdout)


@contextmanager
def _captured(descriptor: int, stream: TextIO) -> Iterator[Callable[[], str]]:
    with _CAPTURE[descriptor], tempfile.TemporaryFile() as sink:
        try:
            original = os.dup(descriptor)
        except OSError:
            yield lambda: ""
            return
        stream.flush()
        os.dup2(sink.fileno(), descriptor)

        def noise() -> str:
            if not os.lseek(descriptor, 0, os.SEEK_CUR):
                return ""
            os.lseek(descriptor, 0, os.SEEK_SET)
            text = os.read(descriptor, 4096).decode(errors="replace")
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
            return text

        try:
            yield noise
        finally:
            if descriptor == 1:
                _flush_native()
            os.dup2(original, descriptor)
            os.close(original)


def _flush_native() -> None:
    """Write what the C library still holds in buffers of its own, as it does of standard output."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
