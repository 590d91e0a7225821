"""Which handler emits which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgefer.emit.tflite.site import Site

Handler: TypeAlias = Callable[[Site], None]


@dataclass(frozen=True)
class Entry:
    """A handler and what it can do.

    Attributes:
        handler: emits a node.
        fuses: whether it applies the node's fused activation.
        keeps_params: whether its int8 form only moves numbers, so that inputs and output must share parameters.
    """

    handler: Handler
    fuses: bool = False
    keeps_params: bool = False


HANDLERS: dict[str, Entry] = {}


def emits(*ops: str, fuses: bool = False, keeps_params: bool = False) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of `ops`."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update({op: Entry(handler, fuses, keeps_params) for op in ops})
        return handler

    return register
