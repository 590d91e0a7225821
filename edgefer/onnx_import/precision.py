"""Numbers of a file as edgefer computes with them: float32 instead of half and double precision."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx
from onnx import helper

from edgefer.errors import InputError
from edgefer.graph.ir import Array

_FLOAT = np.dtype(np.float32)
_OTHER_FLOATS = {"float16", "bfloat16", "float64"}
_KINDS = "biuf"  # of numpy: truth values, integers, floats


class Precision:
    """Brings values to float32, and remembers what they were.

    Attributes:
        found: names of the other float types that the file computes in or stores.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()

    def array(self, array: Array, where: str) -> Array:
        """An array as edgefer computes with it; `where` names it in errors."""
        dtype = self.dtype(array.dtype, where)
        if dtype == array.dtype:
            return array
        with np.errstate(over="ignore"):
            return array.astype(dtype)

    def dtype(self, dtype: np.dtype[np.generic], where: str) -> np.dtype[np.generic]:
        """The type that stands for `dtype`.

        Raises:
            InputError: it is a type that nothing here computes with.
        """
        if dtype.name in _OTHER_FLOATS:
            self.found.add(dtype.name)
            return _FLOAT
        if dtype.kind not in _KINDS:
            raise InputError(f"{where} is of type {dtype.name}", remedy="Export the network in float32.")
        return dtype

    def element_type(self, number: int, where: str) -> np.dtype[np.generic]:
        """The type that stands for one of ONNX's `TensorProto.DataType`.

        Raises:
            InputError: as above.
        """
        try:
            dtype = helper.tensor_dtype_to_np_dtype(number)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{where} has no type", remedy="Is the file damaged?") from error
        name = onnx.TensorProto.DataType.Name(number).lower()
        if name == "bfloat16":
            self.found.add(name)
            return _FLOAT
        if name.startswith(("int4", "uint4", "int2", "uint2", "float4", "float8", "string", "complex")):
            raise InputError(f"{where} is of type {name}", remedy="Export the network in float32.")
        return self.dtype(dtype, where)

    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        if not self.found:
            return ()
        return (f"the network is in {' and '.join(sorted(self.found))}; edgefer computes it in float32",)


_MASKED = {"Add", "Concat", "Expand", "Gather", "Max", "ScatterElements", "ScatterND", "Slice", "Where"}


def require_finite(name: str, array: Array, readers: Set[str]) -> None:
    """Weights must be numbers; a bound (of a Clip, say) may be infinite, and a mask may be where nothing is to be seen.

    Args:
        name: of a constant.
        array: its contents.
        readers: operators that read it.

    Raises:
        InputError: they are not.
    """
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    is_mask = readers <= _MASKED and not np.any(array == np.inf)
    if np.isnan(array).any() or (array.size > 1 and not is_mask):
        raise InputError(
            f"constant {name!r} holds values that are not finite",
            remedy="The training diverged, or the file is damaged: bring another checkpoint.",
        )
