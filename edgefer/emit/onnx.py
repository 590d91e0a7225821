"""The ONNX artifact: the float graph with QuantizeLinear and DequantizeLinear where the Plan says int8.

Activations are uint8 and weights int8 (U8S8): bit-exact between x86 and ARM in ONNX Runtime, and the fastest
on x86.  A uint8 value is the Plan's int8 value plus 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from edgefer.graph.ir import Array, Graph, Node, fresh_name
from edgefer.graph.onnx_io import to_onnx
from edgefer.plan import Plan, QuantParams


def emit_onnx(graph: Graph, plan: Plan, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The model that computes `graph` as `plan` says; an empty Plan gives the float model."""
    emitter = _Emitter(graph, plan)
    for value in graph.inputs:
        emitter.store(value, value)
    for node in graph.nodes:
        emitter.emit(node)
    return to_onnx(replace(graph, nodes=tuple(emitter.nodes), constants=emitter.constants), metadata=metadata)


class _Emitter:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = dict(graph.constants)
        self.dequantized: dict[str, str] = {}
        self.exact: set[str] = set()

    def emit(self, node: Node) -> None:
        """Append `node`, reading stored values where it computes in int8 and exact ones where it can."""
        is_int8 = self.plan.is_int8(node.name)
        inputs = tuple(self._read(value, is_int8) for value in node.inputs)
        outputs = tuple(self._computed(value) if is_int8 else value for value in node.outputs)
        self.nodes.append(replace(node, inputs=inputs, outputs=outputs))
        if not is_int8:
            self.exact.update(node.outputs)
        for value, computed in zip(node.outputs, outputs, strict=True):
            self.store(value, computed)

    def store(self, value: str, computed: str) -> None:
        """Follow `computed`, which the Plan may store as the integers of `value`, by its Quantize and Dequantize."""
        if value in self.plan.tensors:
            stored = self._name(value, "stored")
            node = Node(f"{value}/Quantize", "QuantizeLinear", (computed, *self._parameters(value)), (stored,))
            self.nodes.append(node)
            self._dequantize(value, stored, self._name(value, "dequantized") if computed == value else value)

    def _computed(self, value: str) -> str:
        """What an int8 node returns; a graph output is what can be stored of it."""
        is_returned = value in self.graph.outputs and value in self.plan.tensors
        return self._name(value, "computed") if is_returned else value

    def _read(self, value: str, is_int8: bool) -> str:
        if value not in self.plan.tensors or (not is_int8 and (value in self.exact or self.graph.is_constant(value))):
            return value
        if self.graph.is_constant(value) and value not in self.dequantized:
            stored = self._name(value, "stored")
            integers = self.plan.tensors[value].quantize(self.graph.constants[value])
            self.constants[stored] = _shifted(integers) if self._is_activation(value) else integers
            self._dequantize(value, stored, self._name(value, "dequantized"))
        return self.dequantized[value]

    def _dequantize(self, value: str, stored: str, real: str) -> None:
        params = self.plan.tensors[value]
        self.dequantized[value] = real
        attributes = {} if params.axis is None else {"axis": params.axis}
        node = Node(
            f"{value}/Dequantize",
            "DequantizeLinear",
            (stored, *self._parameters(value)),
            (real,),
            attributes,
        )
        self.nodes.append(node)

    def _parameters(self, value: str) -> tuple[str, str]:
        params = self.plan.tensors[value]
        shape = () if params.axis is None else (-1,)
        zero_point = np.asarray(params.zero_point, params.dtype).reshape(shape)
        names = (self._name(value, "scale"), self._name(value, "zero_point"))
        self.constants[names[0]] = np.asarray(params.scale, np.float32).reshape(shape)
        self.constants[names[1]] = _shifted(zero_point) if self._is_activation(value) else zero_point
        return names

    def _name(self, value: str, part: str) -> str:
        return fresh_name(self.graph, f"{value}/{part}")

    def _is_activation(self, value: str) -> bool:
        return _is_asymmetric(self.plan.tensors[value])


def _is_asymmetric(params: QuantParams) -> bool:
    return params.dtype == "int8" and not params.narrow


def _shifted(integers: Array) -> Array:
    return (integers.astype(np.int16) + 128).astype(np.uint8)
