"""Tensors, buffers and operators, collected in order of execution, become the schema's `ModelT`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgefer.emit.nibbles import packed_int4
from edgefer.emit.tflite.flatbuffer import schema, table
from edgefer.emit.tflite.versions import operator_version
from edgefer.graph.ir import Array

_SCHEMA_VERSION = 3
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float64": schema.TensorType.FLOAT64,
    "float16": schema.TensorType.FLOAT16,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True)
class Scales:
    """Quantization of a stored tensor; `axis` is the stored axis that has a scale each, None if there is one."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it; `buffer` 0 means that it is computed."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: Scales | None
    buffer: int

    @property
    def is_integer(self) -> bool:
        """Whether its elements are whole numbers as such, which stand for no real ones."""
        return self.scales is None and self.dtype.startswith("int")


@dataclass(frozen=True)
class _Operator:
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_name: str
    options: Mapping[str, Any]


class Writer:
    """Collects a network's tensors and operators, in order of execution."""

    def __init__(self) -> None:
        self.tensors: list[StoredTensor] = []
        self._operators: list[_Operator] = []
        self._versions: dict[str, int] = {}
        self._buffers: dict[tuple[bytes, int | None], int] = {(b"", None): 0}  # by content, and tensor if it is its own

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scales: Scales | None = None,
        data: Array | None = None,
    ) -> int:
        """Add a tensor, with its contents if it is constant, and return its index.

        Equal contents are written once, but for biases: corrected, they differ, and bytes must not depend on that.
        """
        content = b"" if data is None else (packed_int4(data) if dtype == "int4" else data).tobytes()
        is_bias = data is not None and dtype == "int32" and scales is not None
        buffer = self._buffers.setdefault((content, len(self.tensors) if is_bias else None), len(self._buffers))
        self.tensors.append(StoredTensor(name, tuple(shape), dtype, scales, buffer))
        return len(self.tensors) - 1

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor the name that the application sees."""
        self.tensors[tensor] = replace(self.tensors[tensor], name=name)

    def operator(
        self, op: str, inputs: Sequence[int], outputs: Sequence[int], options_name: str = "", **options: Any
    ) -> None:
        """Add builtin `op`, with the fields of its options table by their schema names."""
        read = [self.tensors[index] for index in inputs]
        version = operator_version(
            op,
            [tensor.dtype for tensor in read],
            [len(tensor.shape) for tensor in read],
            options,
            read[0].scales is not None and read[0].scales.axis is not None,
        )
        self._versions[op] = max(version, self._versions.get(op, 1))
        self._operators.append(_Operator(op, tuple(inputs), tuple(outputs), options_name, options))

    def model(self, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
        """The `ModelT`.

        Args:
            name: of the network.
            inputs: tensor of each of the signature's inputs.
            outputs: tensor of each of the signature's outputs.
        """
        return table(
            "Model",
            version=_SCHEMA_VERSION,
            description="edgefer",
            operatorCodes=[self._code(op) for op in self._versions],
            subgraphs=[self._subgraph(name, inputs, outputs)],
            buffers=[table("Buffer", data=content) for content, _ in self._buffers],
            signatureDefs=[_signature(inputs, outputs)],
        )

    def _code(self, op: str) -> Any:
        code = getattr(schema.BuiltinOperator, op)
        return table("OperatorCode", deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=self._versions[op])

    def _subgraph(self, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
        codes = list(self._versions)
        return table(
            "SubGraph",
            name=name,
            tensors=[_tensor(tensor) for tensor in self.tensors],
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=[_operator(operator, codes.index(operator.op)) for operator in self._operators],
        )


def _tensor(tensor: StoredTensor) -> Any:
    return table(
        "Tensor",
        name=tensor.name,
        shape=np.asarray(tensor.shape, np.int32),
        type=_TYPES[tensor.dtype],
        buffer=tensor.buffer,
        hasRank=True,
        quantization=None if tensor.scales is None else _quantization(tensor.scales),
    )


def _quantization(scales: Scales) -> Any:
    return table(
        "QuantizationParameters",
        scale=np.asarray(scales.scale, np.float32),
        zeroPoint=np.asarray(scales.zero_point, np.int64),
        quantizedDimension=scales.axis or 0,
    )


def _operator(operator: _Operator, code: int) -> Any:
    made = table("Operator", opcodeIndex=code, inputs=list(operator.inputs), outputs=list(operator.outputs))
    if operator.options_name:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, operator.options_name)
        made.builtinOptions = table(operator.options_name, **operator.options)
    return made


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    return table(
        "SignatureDef",
        signatureKey="serving_default",
        inputs=_tensor_maps(inputs.items()),
        outputs=_tensor_maps(outputs.items()),
    )


def _tensor_maps(items: Iterable[tuple[str, int]]) -> list[Any]:
    return [table("TensorMap", name=name, tensorIndex=index) for name, index in items]
