"""Where each value of the graph is stored: as real numbers or as the Plan's integers, and in which layouts.

A value is stored once, the way its operator makes it.  Whoever wants it otherwise gets a QUANTIZE, DEQUANTIZE,
RESHAPE or TRANSPOSE, which the next one to ask shares.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.emit.tflite.layout import (
    Layout,
    between,
    identity,
    permuted,
    same_order,
    with_leading_axes,
)
from edgefer.emit.tflite.writer import Scales, Writer
from edgefer.errors import InputError
from edgefer.graph.ir import Array, Graph
from edgefer.plan import Plan, QuantParams


class Values:
    """The stored tensors of a graph's values, by value, number format and layout."""

    def __init__(self, graph: Graph, plan: Plan, writer: Writer) -> None:
        self.graph = graph
        self.plan = plan
        self.writer = writer
        self._stored: dict[tuple[str, bool], dict[Layout, int]] = {}

    def layout(self, value: str) -> Layout | None:
        """The layout that `value` was first stored in; None for a constant, which suits any."""
        if self.graph.is_constant(value):
            return None
        return next(layout for quantized in (True, False) for layout in self._stored.get((value, quantized), ()))

    def new(self, value: str, quantized: bool, layout: Layout) -> int:
        """A tensor for a value that an operator makes or the caller feeds."""
        dtype = "int8" if quantized else self.graph.info[value].dtype.name
        scales = self._scales(value, layout) if quantized else _PIXELS if dtype == "uint8" else None
        tensor = self.writer.tensor(value, permuted(self.graph.shape(value), layout), dtype, scales)
        self.put(value, quantized, layout, tensor)
        return tensor

    def put(self, value: str, quantized: bool, layout: Layout, tensor: int) -> None:
        """Note that `tensor` holds `value`."""
        self._stored.setdefault((value, quantized), {})[layout] = tensor

    def fetch(self, value: str, quantized: bool, layout: Layout) -> int:
        """The tensor that holds `value` in this format and layout.

        A layout that is longer than the value's rank asks for unit axes in front, as ONNX broadcasts.
        """
        stored = self._stored.setdefault((value, quantized), {})
        if layout not in stored:
            if self.graph.is_constant(value):
                stored[layout] = self._constant(value, quantized, layout)
            else:
                have, tensor = self._any_layout(value, quantized)
                stored[layout] = tensor if have == layout else self._relayout(value, tensor, have, layout)
        return stored[layout]

    def constant(self, name: str, array: Array, params: QuantParams | None = None, layout: Layout | None = None) -> int:
        """A constant tensor: `array`, quantized where `params` say how, stored in `layout`."""
        layout = layout or identity(array.ndim)
        data = array if params is None else params.quantize(array)
        scales = None if params is None or params.dtype == "float16" else _stored_scales(params, layout)
        data = data.transpose(layout)
        return self.writer.tensor(name, data.shape, params.dtype if params else data.dtype.name, scales, data)

    def taps(self, value: str, name: str, cut: tuple[slice, slice], layout: Layout) -> int:
        """A tensor of real numbers that are some rows and columns of each channel of constant weights."""
        return self._real(name, self.graph.constants[value][..., *cut], self.plan.tensors.get(value), layout)

    def params(self, value: str) -> QuantParams:
        """The Plan's parameters of `value`.

        Raises:
            InputError: it has none, though an int8 node needs them.
        """
        if value not in self.plan.tensors:
            raise InputError(f"plan: an int8 node reads or makes {value!r}, which has no scale")
        return self.plan.tensors[value]

    def _scales(self, value: str, layout: Layout) -> Scales:
        return _stored_scales(self.params(value), layout)

    def _constant(self, value: str, quantized: bool, layout: Layout) -> int:
        array = self.graph.constants[value]
        added = len(layout) - array.ndim
        array = array.reshape((1,) * added + array.shape)
        params = self.plan.tensors.get(value)
        if params is not None and params.axis is not None:
            params = replace(params, axis=params.axis + added)
        if quantized:
            return self.constant(value, array, params or self.params(value), layout)
        if params is not None and params.dtype == "int8":
            return self._dequantized(value, self.fetch(value, True, layout))
        return self._real(value, array, params, layout)

    def _real(self, name: str, array: Array, params: QuantParams | None, layout: Layout) -> int:
        """A tensor of a constant's real numbers, which may be stored otherwise."""
        if params is None:
            return self.constant(name, array, None, layout)
        if params.dtype in ("float16", "int8"):
            return self._dequantized(name, self.constant(name, array, params, layout))
        return self.constant(name, params.dequantize(params.quantize(array)), None, layout)

    def _any_layout(self, value: str, quantized: bool) -> tuple[Layout, int]:
        stored = self._stored[value, quantized]
        if not stored:
            layout, other = next(iter(self._stored[value, not quantized].items()))
            stored[layout] = self._quantized(value, other, layout) if quantized else self._dequantized(value, other)
        return next(iter(stored.items()))

    def _quantized(self, value: str, tensor: int, layout: Layout) -> int:
        shape = self.writer.tensors[tensor].shape
        result = self.writer.tensor(f"{value}/quantized", shape, "int8", self._scales(value, layout))
        self.writer.operator("QUANTIZE", [tensor], [result], "QuantizeOptions")
        return result

    def _dequantized(self, value: str, tensor: int) -> int:
        result = self.writer.tensor(f"{value}/dequantized", self.writer.tensors[tensor].shape, "float32")
        self.writer.operator("DEQUANTIZE", [tensor], [result], "DequantizeOptions")
        return result

    def _relayout(self, value: str, tensor: int, have: Layout, want: Layout) -> int:
        shape = self.graph.shape(value)
        shape = (1,) * (len(want) - len(shape)) + shape
        expanded = with_leading_axes(have, len(want))
        if same_order(shape, expanded, want):
            return self.reshape(tensor, permuted(shape, want), f"{value}/reshaped")
        if expanded != have:
            tensor = self.reshape(tensor, permuted(shape, expanded), f"{value}/expanded")
        return self.transpose(tensor, between(expanded, want), f"{value}/transposed")

    def reshape(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """A tensor of the same elements in the same order."""
        source = self.writer.tensors[tensor]
        result = self.writer.tensor(name, shape, source.dtype, source.scales)
        self.reshape_into(tensor, result)
        return result

    def reshape_into(self, tensor: int, result: int) -> None:
        """Fill `result` with the elements of `tensor`, in the same order."""
        shape = np.asarray(self.writer.tensors[result].shape, np.int32)
        self.writer.operator(
            "RESHAPE", [tensor, self.constant("shape", shape)], [result], "ReshapeOptions", newShape=shape
        )

    def transpose(self, tensor: int, permutation: Layout, name: str) -> int:
        """A tensor with its axes permuted."""
        source = self.writer.tensors[tensor]
        result = self.writer.tensor(name, permuted(source.shape, permutation), source.dtype, source.scales)
        order = self.constant("permutation", np.asarray(permutation, np.int32))
        self.writer.operator("TRANSPOSE", [tensor, order], [result], "TransposeOptions")
        return result


_PIXELS = Scales((1.0,), (0,))  # XNNPACK converts pixels by DEQUANTIZE, not by CAST


def _stored_scales(params: QuantParams, layout: Layout) -> Scales:
    return Scales(params.scale, params.zero_point, None if params.axis is None else layout.index(params.axis))
