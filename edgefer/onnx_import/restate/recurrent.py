"""Recurrent layers: time before batch, which is all that ONNX Runtime has."""

from __future__ import annotations

from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@restates("GRU", 14, 22)
@restates("LSTM", 14, 22)
@restates("RNN", 14, 22)
def recurrent(call: Call) -> None:
    """As it is, where the batch is not the first axis."""
    if call.node.int("layout"):
        raise call.unsupported(f"{call.node.op} with layout=1")
    call.end(call.node.op, *call.node.inputs, **call.attributes("layout"))
