"""Being told to stop: Ctrl-C, SIGTERM and a closed terminal all unwind the work, which leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [signal.SIGINT, *(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))]


class Interruption(KeyboardInterrupt):
    """A request to stop.

    Not KeyboardInterrupt itself: where that passes through `exec`, as it does while dataclasses are made, CPython ends
    by SIGINT in the end, although it was handled.
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block requests to stop raise Interruption; those that are ignored, as by nohup, stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = [n for n, handler in handlers.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold back requests to stop until the end of the block, so that nothing is made there and then forgotten."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
