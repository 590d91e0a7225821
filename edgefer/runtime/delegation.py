"""What a TFLite file's operators compute in, and which of them XNNPACK, LiteRT's fast CPU kernels, leaves out."""

from __future__ import annotations

from typing import Any

from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.runtime.runners import tflite_interpreter

_DELEGATE = "DELEGATE"


def operator_counts(model: bytes) -> dict[str, int]:
    """How many operators read and write int8 (`int8`), and how many do not (`float`), conversions included.

    Raises:
        InputError: it is not a TFLite file.
    """
    graph = unpack(model).subgraphs[0]

    def is_int8(operator: Any) -> bool:
        values = (*(index for index in operator.inputs if index >= 0), *operator.outputs)
        types = {graph.tensors[index].type for index in values}
        return schema.TensorType.INT8 in types and schema.TensorType.FLOAT32 not in types

    int8 = sum(map(is_int8, graph.operators))
    return {"int8": int8, "float": len(graph.operators) - int8}


def undelegated(model: bytes) -> list[str]:
    """The operators left to LiteRT's own kernels, in order, as "OP (name of the tensor it makes)".

    Where XNNPACK does not take the whole model over, every operator that it accepts is made a partition of its
    own, so that what a partition makes tells which operator it replaced.

    Raises:
        InputError: it is not a TFLite file, or has too many operators (about 450) for partitions of their own.
    """
    if _is_one_partition(tflite_interpreter(model)):
        return []
    interpreter = tflite_interpreter(model, experimental_disable_delegate_node_fusion=True)
    operators = interpreter._get_ops_details()
    taken = {tuple(op["outputs"]) for op in operators if op["op_name"] == _DELEGATE}
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    return [
        f"{op['op_name']} ({names[op['outputs'][0]]})"
        for op in operators
        if op["op_name"] != _DELEGATE and tuple(op["outputs"]) not in taken
    ]


def _is_one_partition(interpreter: Any) -> bool:
    """Whether one delegate makes all outputs of the model from nothing that another operator made."""
    operators = interpreter._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == _DELEGATE]
    if len(delegates) != 1:
        return False
    made = {tensor for op in operators for tensor in op["outputs"]}
    results = {output["index"] for output in interpreter.get_output_details()}
    return results <= set(delegates[0]["outputs"]) and not made & set(delegates[0]["inputs"])
