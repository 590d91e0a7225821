"""What a TFLite file's operators compute in, and which of them XNNPACK, LiteRT's fast CPU kernels, leaves out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from edgefer.emit.tflite.flatbuffer import pack, schema, table, unpack
from edgefer.runtime.runners import tflite_interpreter

_DELEGATE = "DELEGATE"

_RUNS, _ENOUGH_S = 30, 0.3
"""An operator is timed so often, or for so long where that is less."""


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


def in_float(model: bytes) -> list[str]:
    """The operators that compute on float32, in order, as "OP (name of the tensor it makes)"."""
    whole = unpack(model)
    graph = whole.subgraphs[0]
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    found = []
    for operator in graph.operators:
        op = names[whole.operatorCodes[operator.opcodeIndex].builtinCode]
        read = (graph.tensors[index].type for index in operator.inputs if index >= 0)
        if op != "QUANTIZE" and schema.TensorType.FLOAT32 in read:
            found.append(f"{op} ({graph.tensors[operator.outputs[0]].name.decode()})")
    return found


def undelegated(model: bytes) -> list[str]:
    """The operators left to LiteRT's own kernels, in order, as "OP (name of the tensor it makes)".

    Where XNNPACK does not take the whole model over, every operator that it accepts is made a partition of its
    own, so that what a partition makes tells which operator it replaced.

    Raises:
        InputError: it is not a TFLite file, or has too many operators (about 450) for partitions of their own.
    """
    return [f"{op['op_name']} ({name})" for op, name in _left_out(model)]


def time_shares(model: bytes) -> dict[str, float]:
    """Which share of a frame's time the operators left to LiteRT's own kernels take here, by kind, largest first.

    LiteRT tells its times to no Python, so each operator is run by itself, as a file of one, beside the whole file.

    Raises:
        InputError: as for `undelegated`.
    """
    left = _left_out(model)
    if not left:
        return {}
    whole = _median_s(tflite_interpreter(model))
    seconds: dict[str, float] = defaultdict(float)
    known: dict[bytes, float] = {}
    for op, _ in left:
        alone = _alone(unpack(model), op["index"])
        if alone not in known:
            known[alone] = _median_s(tflite_interpreter(alone, experimental_op_resolver_type=_own_kernels()))
        seconds[op["op_name"]] += known[alone]
    return {op: min(s / whole, 1.0) for op, s in sorted(seconds.items(), key=lambda item: -item[1])}


def _left_out(model: bytes) -> Sequence[tuple[dict[str, Any], str]]:
    """LiteRT's description of each operator that no delegate takes, and the name of the tensor it makes."""
    if _is_one_partition(tflite_interpreter(model)):
        return []
    interpreter = tflite_interpreter(model, experimental_disable_delegate_node_fusion=True)
    operators = interpreter._get_ops_details()
    taken = {tuple(op["outputs"]) for op in operators if op["op_name"] == _DELEGATE}
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    return [
        (op, names[op["outputs"][0]])
        for op in operators
        if op["op_name"] != _DELEGATE and tuple(op["outputs"]) not in taken
    ]


def _alone(model: Any, index: int) -> bytes:
    """The file of one operator of a `ModelT`, fed what others made; equal operators give equal files."""
    graph = model.subgraphs[0]
    operator = graph.operators[index]
    read = [value for value in dict.fromkeys(operator.inputs) if value >= 0]
    places = {value: place for place, value in enumerate([*read, *operator.outputs])}
    contents = [model.buffers[graph.tensors[value].buffer].data for value in places]
    for place, value in enumerate(places):
        graph.tensors[value].name, graph.tensors[value].buffer = str(place), place + 1
    graph.tensors = [graph.tensors[value] for value in places]
    graph.inputs = [places[value] for value in read if contents[places[value]] is None]
    operator.inputs = [places.get(value, -1) for value in operator.inputs]
    graph.outputs = operator.outputs = [places[value] for value in operator.outputs]
    model.operatorCodes, operator.opcodeIndex = [model.operatorCodes[operator.opcodeIndex]], 0
    graph.operators = [operator]
    model.buffers = [table("Buffer", data=content) for content in (None, *contents)]
    model.signatureDefs = model.metadata = None
    return pack(model)


def _own_kernels() -> Any:
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def _median_s(interpreter: Any) -> float:
    """Seconds that a run takes, on numbers of no meaning."""
    rng = np.random.default_rng(0)
    for value in interpreter.get_input_details():
        noise = rng.uniform(0, 1, value["shape"])
        interpreter.set_tensor(value["index"], np.asarray(noise, value["dtype"]))
    interpreter.invoke()
    times: list[float] = []
    while len(times) < _RUNS and (sum(times) < _ENOUGH_S or not times):
        start = perf_counter()
        interpreter.invoke()
        times.append(perf_counter() - start)
    return median(times)


def _is_one_partition(interpreter: Any) -> bool:
    """Whether one delegate makes all outputs of the model from nothing that another operator made."""
    operators = interpreter._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == _DELEGATE]
    if len(delegates) != 1:
        return False
    made = {tensor for op in operators for tensor in op["outputs"]}
    results = {output["index"] for output in interpreter.get_output_details()}
    return results <= set(delegates[0]["outputs"]) and not made & set(delegates[0]["inputs"])
