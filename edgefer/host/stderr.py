"""Keeping native libraries' chatter away from the user: it is written to file descriptor 2, past Python."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

_CAPTURE = Lock()


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what native code writes to file descriptor 2; the value returns what came since its last call.

    The descriptor belongs to the process, so what other threads write meanwhile is kept from the user too.
    """
    with _CAPTURE, tempfile.TemporaryFile() as sink:
        try:
            original = os.dup(2)
        except OSError:
            yield lambda: ""
            return
        sys.stderr.flush()
        os.dup2(sink.fileno(), 2)

        def noise() -> str:
            if not os.lseek(2, 0, os.SEEK_CUR):
                return ""
            os.lseek(2, 0, os.SEEK_SET)
            text = os.read(2, 4096).decode(errors="replace")
            os.lseek(2, 0, os.SEEK_SET)
            os.ftruncate(2, 0)
            return text

        try:
            yield noise
        finally:
            os.dup2(original, 2)
            os.close(original)
