"""What a handler sees of the emission: one node, its inputs in any layout, and a place for its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgefer.emit.tflite.flatbuffer import schema
from edgefer.emit.tflite.layout import Layout, default
from edgefer.emit.tflite.values import Values
from edgefer.errors import UnsupportedOperatorError
from edgefer.graph.ir import Array, Graph, Node

REMEDY = "Convert with `--tflite-backend onnx2tf`, or leave TFLite out: `--formats onnx`."

_ACTIVATIONS = {
    "": schema.ActivationFunctionType.NONE,
    "Relu": schema.ActivationFunctionType.RELU,
    "Relu6": schema.ActivationFunctionType.RELU6,
}


@dataclass(frozen=True)
class Site:
    """One node under emission.

    Attributes:
        values: where values are stored.
        node: the node.
        quantized: whether it computes in int8.
    """

    values: Values
    node: Node
    quantized: bool

    @property
    def graph(self) -> Graph:
        """The graph that the node belongs to."""
        return self.values.graph

    @property
    def activation(self) -> int:
        """The node's fused activation, as the schema numbers it."""
        return int(_ACTIVATIONS[self.node.activation])

    def in_float(self) -> Site:
        """The same node, computed in float: for operators that have no int8 kernel."""
        return replace(self, quantized=False)

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """ONNX shape of an input."""
        return self.graph.shape(self.node.inputs[index])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """ONNX shape of the first output."""
        return self.graph.shape(self.node.output)

    def layout(self, index: int = 0) -> Layout:
        """The layout that an input is stored in; for a constant, the one that kernels want."""
        return self.values.layout(self.node.inputs[index]) or default(len(self.shape(index)))

    def constant(self, index: int) -> Array | None:
        """The contents of an input, None when it is left out.

        Raises:
            UnsupportedOperatorError: it is not known before running.
        """
        value = self.node.input(index)
        if not value:
            return None
        if not self.graph.is_constant(value):
            raise self.unsupported(f"an input {value!r} that is computed")
        return self.graph.constants[value]

    def input(self, index: int, layout: Layout) -> int:
        """The tensor of an input in the node's number format."""
        return self.values.fetch(self.node.inputs[index], self._is_quantized(self.node.inputs[index]), layout)

    def output(self, layout: Layout, index: int = 0) -> int:
        """A tensor for an output, stored in `layout`."""
        value = self.node.outputs[index]
        return self.values.new(value, self._is_quantized(value), layout)

    def hand_on(self, layout: Layout, source: Layout) -> None:
        """Let the output be the input's own tensor, stored as `source`, seen as `layout`."""
        value = self.node.output
        self.values.put(value, self._is_quantized(value), layout, self.input(0, source))

    def temporary(self, shape: Sequence[int], name: str, like: int | None = None) -> int:
        """A tensor between two operators of this node, with the format of tensor `like` (by default, float)."""
        source = None if like is None else self.values.writer.tensors[like]
        dtype, scales = (source.dtype, source.scales) if source is not None else ("float32", None)
        return self.values.writer.tensor(f"{self.node.output}/{name}", shape, dtype, scales)

    def integers(self, numbers: Sequence[int], name: str) -> int:
        """An int32 constant, as shapes, axes and paddings are stated."""
        return self.values.constant(name, np.asarray(numbers, np.int32))

    def emit(self, op: str, inputs: Sequence[int], output: int, options_name: str = "", **options: Any) -> None:
        """Add builtin `op` with the fields of its options table."""
        self.values.writer.operator(op, inputs, [output], options_name, **options)

    def unsupported(self, what: str) -> UnsupportedOperatorError:
        """The error that names this node, its operator and `what` about it is not supported."""
        return UnsupportedOperatorError(
            self.node.name, f"{self.node.op} with {what}", "the TFLite emitter", remedy=REMEDY
        )

    def require_rank(self, rank: int) -> None:
        """Refuse an input of another rank."""
        if len(self.shape()) != rank:
            raise self.unsupported(f"an input of rank {len(self.shape())}")

    def shares_params(self) -> bool:
        """Whether all quantized inputs and the output have the same parameters."""
        tensors = self.values.plan.tensors
        return len({tensors[v] for v in (*self.node.inputs, *self.node.outputs) if v in tensors}) <= 1

    def stores_int4(self, index: int) -> bool:
        """Whether the node computes in int8 with an input that is stored as int4."""
        params = self.values.plan.tensors.get(self.node.inputs[index])
        return self.quantized and params is not None and params.dtype == "int4"

    def _is_quantized(self, value: str) -> bool:
        return self.quantized and self.graph.info[value].dtype == np.float32
