"""The ONNX artifact: the float graph with QuantizeLinear and DequantizeLinear where the Plan says int8.

Activations are uint8 and weights int8 (U8S8): bit-exact between x86 and ARM in ONNX Runtime (with
`host.saturation.EXACT` where that says so), and the fastest on x86.  A uint8 value is the Plan's int8 value plus 128.

Some things are said so that ONNX Runtime settles them when it loads the model, not in every run: weights of nodes that
compute in float are a Cast times their scales, as it does not fold a DequantizeLinear; int4 weights are looked up in a
table of all pairs, as few of its versions can cast from int4; weights that several nodes read are stored once, and
reshaped to what they are for each reader but the first, one after the other, as it converts those of each reader by
themselves, and takes equal nodes for one; a constant for each channel is expanded to the whole map, as its kernels
take up to three times as long where they broadcast; a map of one pixel is turned to channels last before it is
flattened, as int8 convolutions return maps so, which else are turned while they are large.  PReLUs whose answer is the
same in integers (`graph.slopes`) are a product and a sum of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from types import MappingProxyType

import numpy as np
import onnx

from edgefer.emit.nibbles import INT4_PAIRS, packed_int4
from edgefer.graph.ir import Array, Attribute, Graph, Node, fresh_name
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.slopes import FRACTIONS, fractions
from edgefer.plan import Plan

CHANNELS_LAST = "ChannelsLast"
"""Ends the names of nodes that turn a map for ONNX Runtime's sake."""

MADE_IN_FLOAT = frozenset(["AveragePool"])
"""Operators between integers that both files compute in float, as int8 kernels round in their own ways: what reads real
numbers sees them unrounded."""

_BROADCASTING = frozenset(["Add", "Mul", "Sub"])


def emit_onnx(
    graph: Graph, plan: Plan, metadata: Mapping[str, str] | None = None, held: dict[str, Array] | None = None
) -> onnx.ModelProto:
    """The model that computes `graph` as `plan` says; an empty Plan gives the float model.  `held`: see `to_onnx`."""
    emitter = _Emitter(graph, plan)
    for value in graph.inputs:
        emitter.store(value, value)
    for node in graph.nodes:
        emitter.emit(node)
    return to_onnx(
        replace(graph, nodes=tuple(emitter.nodes), constants=emitter.constants), metadata=metadata, held=held
    )


def leave_ends_stored(model: onnx.ModelProto) -> None:
    """Let the integers of inputs and outputs, uint8, go in and out of a model of `emit_onnx` that stores them all."""
    inputs, outputs = ({value.name: value for value in ends} for ends in (model.graph.input, model.graph.output))
    names: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in inputs:
            names[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.output[0] in outputs:
            names[node.input[0]] = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*inputs.values(), *outputs.values()):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Emitter:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = dict(graph.constants)
        self.integers: dict[str, str] = {}
        self.dequantized: dict[str, str] = {}
        self.restored: dict[str, str] = {}
        self.exact: set[str] = set()
        self.readers: Counter[str] = Counter()
        self.again: dict[str, str] = {}
        self.turned: dict[str, str] = {}

    def emit(self, node: Node) -> None:
        """Append `node`, reading stored values where it computes in int8 and exact activations where it can."""
        if self._is_between_integers(node) and (steps := fractions(self.graph, node)) is not None:
            self._prelu(node, steps)
            return
        is_int8 = self.plan.is_int8(node.name)
        inputs = tuple(self._read(value, is_int8) for value in node.inputs)
        if is_int8 and node.op == "Flatten" and self.graph.shape(node.inputs[0])[2:] == (1, 1):
            inputs = (self._channels_last(node.inputs[0], inputs[0]),)
        outputs = tuple(self._computed(value) if is_int8 else value for value in node.outputs)
        self.nodes.append(replace(node, inputs=inputs, outputs=outputs))
        if not is_int8 or node.op in MADE_IN_FLOAT:
            self.exact.update(node.outputs)
        for value, computed in zip(node.outputs, outputs, strict=True):
            self.store(value, computed)

    def store(self, value: str, computed: str) -> None:
        """Follow `computed`, which the Plan may store as the integers of `value`, by its Quantize and Dequantize."""
        if value in self.plan.tensors:
            self.integers[value] = self._name(value, "stored")
            self._add(value, "Quantize", "QuantizeLinear", (computed, *self._parameters(value)), self.integers[value])
            real = self.dequantized[value] = self._name(value, "dequantized") if computed == value else value
            self._dequantize(value, self.integers[value], real)

    def _is_between_integers(self, node: Node) -> bool:
        """Whether what `node`, in float, reads and makes are integers alike, which is all that others read of it."""
        source, result = node.input(0), node.output
        params = self.plan.tensors.get(source)
        readers = self.graph.consumers.get(result, ())
        return (
            params is not None
            and params == self.plan.tensors.get(result)
            and source not in self.exact
            and result not in self.graph.outputs
            and all(self.plan.is_int8(reader.name) for reader in readers)
        )

    def _prelu(self, node: Node, steps: Array) -> None:
        """A PReLU in integers, x + max(-x * steps / FRACTIONS, 0), which takes half the time of float's steps."""
        source, result = node.input(0), node.output
        factor, stored, product, integers, below, total = (
            self._name(result, part)
            for part in ("factor", "factor/stored", "product", "below/stored", "below", "computed")
        )
        fraction = self._scalar(result, "factor/scale", np.float32(1 / FRACTIONS))
        largest = self._scalar(result, "factor/zero_point", np.uint8(FRACTIONS))
        zero = self._scalar(result, "below/zero_point", np.uint8(0))
        x, (scale, _) = self.dequantized[source], self._parameters(source)
        self._expand(result, FRACTIONS - steps, self.graph.shape(result), stored)
        self._add(result, "Factor", "DequantizeLinear", (stored, fraction, largest), factor)
        self._add(result, "Product", "Mul", (x, factor), product)
        self._add(result, "Below", "QuantizeLinear", (product, scale, zero), integers)
        self._add(result, "Real", "DequantizeLinear", (integers, scale, zero), below)
        self._add(result, "Sum", "Add", (x, below), total)
        self.store(result, total)

    def _scalar(self, value: str, part: str, number: np.generic) -> str:
        name = self._name(value, part)
        self.constants[name] = np.asarray(number)
        return name

    def _computed(self, value: str) -> str:
        """What an int8 node returns; a graph output is what can be stored of it."""
        is_returned = value in self.graph.outputs and value in self.plan.tensors
        return self._name(value, "computed") if is_returned else value

    def _read(self, value: str, is_int8: bool) -> str:
        if value not in self.plan.tensors or (not is_int8 and value in self.exact):
            return value
        if self.graph.is_constant(value):
            self._store_constant(value)
            if not is_int8 and self.plan.tensors[value].is_symmetric:
                return self._restored(value)
            return self._dequantized_constant(value)
        return self.dequantized[value]

    def _channels_last(self, value: str, read: str) -> str:
        if value not in self.turned:
            self.turned[value] = self._name(value, "channels_last")
            self._add(value, CHANNELS_LAST, "Transpose", (read,), self.turned[value], {"perm": (0, 2, 3, 1)})
        return self.turned[value]

    def _dequantized_constant(self, value: str) -> str:
        """The real numbers of a constant, for one reader alone."""
        self.readers[value] += 1
        which = f"_{self.readers[value]}" if self.readers[value] > 1 else ""
        stored, real = self.integers[value], self._name(value, f"dequantized{which}")
        if which and self.plan.tensors[value].is_symmetric:
            again, shape = self._name(value, f"again{which}"), self._name(value, "shape")
            self.constants[shape] = np.asarray(self.graph.shape(value), np.int64)
            self._add(value, f"Again{which}", "Reshape", (self.again.get(value, stored), shape), again)
            stored = self.again[value] = again
        self._dequantize(value, stored, real, which)
        return real

    def _dequantize(self, value: str, stored: str, real: str, which: str = "") -> None:
        axis = self.plan.tensors[value].axis
        inputs = (stored, *self._parameters(value, which))
        self._add(value, f"Dequantize{which}", "DequantizeLinear", inputs, real, {} if axis is None else {"axis": axis})

    def _restored(self, value: str) -> str:
        """The real numbers of a constant, worked out when the model is loaded."""
        if value not in self.restored:
            params, rank = self.plan.tensors[value], self.graph.constants[value].ndim
            real, cast, factor = (self._name(value, part) for part in ("restored", "cast", "factor"))
            if params.dtype == "float16":
                self._add(value, "Cast", "Cast", (self.integers[value],), real, {"to": int(onnx.TensorProto.FLOAT)})
                self.restored[value] = real
                return real
            shape = [-1 if axis == params.axis else 1 for axis in range(rank)]
            self.constants[factor] = np.asarray(params.scale, np.float32).reshape(shape)
            self._add(value, "Cast", "Cast", (self.integers[value],), cast, {"to": int(onnx.TensorProto.FLOAT)})
            self._add(value, "Restore", "Mul", (cast, factor), real)
            self.restored[value] = real
        return self.restored[value]

    def _store_constant(self, value: str) -> None:
        if value in self.integers:
            return
        params = self.plan.tensors[value]
        integers = params.quantize(self.graph.constants[value])
        stored = self.integers[value] = self._name(value, "stored")
        if params.dtype == "int4":
            self._unpack(value, integers, stored)
            return
        integers = integers if params.is_symmetric else _shifted(integers)
        reader = self.graph.sole_consumer(value)
        whole = self.graph.shape(reader.output) if reader is not None and reader.op in _BROADCASTING else ()
        if 1 < integers.size < prod(whole):
            self._expand(value, integers, whole, stored)
        else:
            self.constants[stored] = integers

    def _unpack(self, value: str, integers: Array, stored: str) -> None:
        packed, index, pairs, shape = (self._name(value, part) for part in ("packed", "index", "pairs", "shape"))
        table = fresh_name(self.graph, "int4/pairs")
        self.constants |= {
            packed: packed_int4(integers),
            shape: np.asarray(integers.shape, np.int64),
            table: INT4_PAIRS,
        }
        self._add(value, "Index", "Cast", (packed,), index, {"to": int(onnx.TensorProto.INT32)})
        self._add(value, "Unpack", "Gather", (table, index), pairs)
        self._add(value, "Shape", "Reshape", (pairs, shape), stored)

    def _expand(self, value: str, integers: Array, whole: tuple[int, ...], stored: str) -> None:
        """Repeat a constant from the first axis on that it has more than one element along; images may lie before."""
        sides = (1,) * (len(whole) - integers.ndim) + integers.shape
        alike = next((axis for axis, side in enumerate(sides) if side > 1), 1)
        whole = (1,) * alike + whole[alike:]
        small, shape = (self._name(value, part) for part in ("small", "shape"))
        self.constants |= {small: integers, shape: np.asarray(whole, np.int64)}
        self._add(value, "Expand", "Expand", (small, shape), stored)

    def _parameters(self, value: str, which: str = "") -> tuple[str, ...]:
        """Scale and zero point; biases, which have no kernel that wants one, leave it out.

        Weights do not share theirs, nor do two readers of the same: ONNX Runtime renames each where it computes with
        uint8 weights, which `session.x64quantprecision` asks for, and refuses to do so twice.
        """
        params = self.plan.tensors[value]
        shape = () if params.axis is None else (-1,)
        scale, zero_point = self._name(value, "scale"), self._name(value, f"zero_point{which}")
        self.constants[scale] = np.asarray(params.scale, np.float32).reshape(shape)
        if params.dtype == "int32":
            return (scale,)
        integers = np.asarray(params.zero_point, np.int8).reshape(shape)
        self.constants[zero_point] = integers if params.is_symmetric else _shifted(integers)
        return (scale, zero_point)

    def _name(self, value: str, part: str) -> str:
        return fresh_name(self.graph, f"{value}/{part}")

    def _add(
        self,
        value: str,
        part: str,
        op: str,
        inputs: tuple[str, ...],
        output: str,
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
    ) -> None:
        self.nodes.append(Node(f"{value}/{part}", op, inputs, (output,), attributes))


def _shifted(integers: Array) -> Array:
    return (integers.astype(np.int16) + 128).astype(np.uint8)
