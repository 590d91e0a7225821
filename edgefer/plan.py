"""The Plan: what quantization decided, as pure data that both emitters read.

Conventions are TFLite's: activations int8 asymmetric, weights int8 symmetric in [-127, 127] (or int4 in [-7, 7]),
bias int32 at input scale times weight scale.  A real value is `scale * (q - zero_point)`.
The ONNX emitter shifts activations to uint8 by adding 128, so both files hold the same scales.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError

SCHEMA = "edgefer.plan/1"

DType: TypeAlias = Literal["int4", "int8", "int32", "float16"]
Compute: TypeAlias = Literal["int8", "float"]

_BITS: dict[DType, int] = {"int4": 4, "int8": 8, "int32": 32, "float16": 16}


@dataclass(frozen=True)
class QuantParams:
    """How one tensor is stored.

    Attributes:
        dtype: storage type.
        scale: one per tensor, or one per index along `axis`; each exactly representable in float32.
        zero_point: as many as there are scales.
        axis: the axis (in the float graph's layout) that has a scale each, or None.
        narrow: whether the smallest integer is left unused (weights).
    """

    dtype: DType
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    narrow: bool = False

    @property
    def bits(self) -> int:
        """Bits that each number takes."""
        return _BITS[self.dtype]

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest stored integer."""
        largest = (1 << (self.bits - 1)) - 1
        return (-largest if self.narrow else -largest - 1, largest)

    @property
    def is_symmetric(self) -> bool:
        """Whether zero is always stored as zero: weights and biases."""
        return self.narrow or self.dtype == "int32"

    def quantize(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.signedinteger[Any]]:
        """Integers for `values`: round half to even, then saturate, as the runtimes do.

        They are int32 or int8; four bits of each int8 are used where that is how they are stored.  Weights that are
        stored as float16 are the nearest such numbers.
        """
        if self.dtype == "float16":
            return values.astype(np.float16)
        scale, zero_point = (self._along_axis(p, values.ndim) for p in (self.scale, self.zero_point))
        integers = np.array(values, np.float64)
        integers /= scale
        np.rint(integers, out=integers)
        integers += zero_point
        np.clip(integers, *self.limits, out=integers)
        return integers.astype(np.int32 if self.dtype == "int32" else np.int8)

    def dequantize(self, integers: npt.NDArray[np.signedinteger[Any]]) -> npt.NDArray[np.float32]:
        """Real values of stored `integers`."""
        scale, zero_point = (self._along_axis(p, integers.ndim) for p in (self.scale, self.zero_point))
        values = np.array(integers, np.float64)
        values -= zero_point
        values *= scale
        return values.astype(np.float32)

    def _along_axis(self, parameter: tuple[float, ...] | tuple[int, ...], rank: int) -> npt.NDArray[np.float64]:
        array = np.asarray(parameter, np.float64)
        if self.axis is None:
            return array.reshape(())
        return array.reshape([-1 if axis == self.axis else 1 for axis in range(rank)])


@dataclass(frozen=True)
class Plan:
    """Which tensor is stored how, and which node computes in what.

    A tensor that is named here is stored as integers in both artifacts; one that is not, as float32.
    A node that is not named computes in float.  An empty Plan describes the float network.
    """

    tensors: Mapping[str, QuantParams] = field(default_factory=dict)
    nodes: Mapping[str, Compute] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))

    def is_int8(self, node: str) -> bool:
        """Whether `node` computes in int8."""
        return self.nodes.get(node) == "int8"

    def to_json(self) -> str:
        """Serialise; `Plan.from_json` reads it back equal."""
        parts: dict[str, dict[str, Any]] = {
            "nodes": dict(sorted(self.nodes.items())),
            "tensors": {name: _entry(params) for name, params in sorted(self.tensors.items())},
        }
        body = ",\n".join(f"{json.dumps(part)}: {{\n{_lines(entries)}\n}}" for part, entries in parts.items())
        return f'{{"schema": {json.dumps(SCHEMA)},\n{body}}}\n'

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            InputError: the text is not a Plan of this schema.
        """
        try:
            document = json.loads(text)
            if document["schema"] != SCHEMA:
                raise InputError(f"plan has schema {document['schema']!r}, expected {SCHEMA!r}")
            tensors = {name: _params(name, entry) for name, entry in document["tensors"].items()}
            nodes = document["nodes"]
            if strange := [name for name, compute in nodes.items() if compute not in get_args(Compute)]:
                raise ValueError(f"node {strange[0]!r} computes in {nodes[strange[0]]!r}")
            return cls(tensors, nodes)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a readable plan: {error}") from error


def _entry(params: QuantParams) -> dict[str, Any]:
    """Parameters as JSON: scales with the digits that float32 needs, one zero point where all are the same."""
    scale = [float(str(np.float32(value))) for value in params.scale]
    zero_point = params.zero_point[:1] if len(set(params.zero_point)) == 1 else params.zero_point
    return {
        "dtype": params.dtype,
        "scale": scale,
        "zero_point": zero_point,
        "axis": params.axis,
        "narrow": params.narrow,
    }


def _params(name: str, entry: Mapping[str, Any]) -> QuantParams:
    with np.errstate(over="ignore"):
        scale = tuple(float(np.float32(value)) for value in entry["scale"])
    zero_point = tuple(entry["zero_point"])
    if len(zero_point) == 1:
        zero_point *= len(scale)
    axis = entry["axis"]
    if not (
        entry["dtype"] in get_args(DType)
        and (type(axis) is int or (axis is None and len(scale) == 1))
        and len(scale) == len(zero_point)
        and all(type(number) is int for number in zero_point)
        and np.isfinite(scale).all()
        and isinstance(entry["narrow"], bool)
    ):
        raise ValueError(f"tensor {name!r} is stored in no way that there is")
    params = QuantParams(entry["dtype"], scale, zero_point, axis, entry["narrow"])
    smallest, largest = params.limits
    if not all(smallest <= number <= largest for number in zero_point):
        raise ValueError(f"tensor {name!r} has a zero point that {params.dtype} does not")
    return params


def _lines(entries: Mapping[str, Any]) -> str:
    """JSON members, one per line: a plan has hundreds of tensors with hundreds of scales each."""
    return ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
