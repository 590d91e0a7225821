"""Recurrent layers: time before batch, which is all that ONNX Runtime has."""

from __future__ import annotations

from edgefer.graph.ir import Node
from edgefer.onnx_import.restate.restatements import restates
from edgefer.onnx_import.scope import Call


@restates("GRU", 14, 22)
@restates("LSTM", 14, 22)
@restates("RNN", 14, 22)
def recurrent(call: Call) -> None:
    """As it is, or between transpositions where the batch is the first axis (`layout=1`)."""
    if not call.node.int("layout"):
        call.end(call.node.op, *call.node.inputs, **call.attributes("layout"))
        return
    inputs = [
        call.add("Transpose", value, perm=(1, 0, 2)) if value and index in _BY_BATCH else value
        for index, value in enumerate(call.node.inputs)
    ]
    names = [call.scope.value_name(f"{value}/by_time") if value else "" for value in call.node.outputs]
    name = call.scope.node_name(f"{call.node.name}/by_time")
    call.scope.add(Node(name, call.node.op, tuple(inputs), tuple(names), call.attributes("layout")))
    for value, made, perm in zip(call.node.outputs, names, _BACK, strict=False):
        if value:
            turn = call.scope.node_name(f"{value}/Transpose")
            call.scope.add(Node(turn, "Transpose", (made,), (value,), {"perm": perm}))


_BY_BATCH = (0, 5, 6)  # inputs with a batch: what is read, and the states
_BACK = ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2))  # of all states, and of the last ones
