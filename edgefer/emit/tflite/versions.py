"""Operator versions: the oldest one that has what an operator uses, so that older runtimes still load the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_INT8 = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "QUANTIZE": 1}
_INT4 = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10, "DEQUANTIZE": 6}
_NEVER_VERSIONED = {"HARD_SWISH", "LEAKY_RELU", "PRELU", "RESHAPE", "RELU_N1_TO_1", "ELU"}
_BROADCASTING = {"SUB": 3, "DIV": 2, "MAXIMUM": 3, "MINIMUM": 3}


def operator_version(
    op: str, dtypes: Sequence[str], ranks: Sequence[int], options: Mapping[str, Any], per_channel: bool
) -> int:
    """The version of `op` for inputs of these `dtypes` and `ranks`.

    Args:
        op: builtin name.
        dtypes: numpy names, one per input.
        ranks: one per input.
        options: the operator's options, by their schema names.
        per_channel: whether the first input has a scale per channel.
    """
    return max(_for_dtype(op, dtypes, per_channel), _for_use(op, dtypes, ranks, options))


def _for_dtype(op: str, dtypes: Sequence[str], per_channel: bool) -> int:
    if "int4" in dtypes:
        return _INT4[op]
    if op == "DEQUANTIZE" and "float16" in dtypes:
        return 3
    if op == "DEQUANTIZE" and per_channel:
        return 5
    if "int8" not in dtypes or op in _NEVER_VERSIONED:
        return 1
    return _INT8.get(op, 2)


def _for_use(op: str, dtypes: Sequence[str], ranks: Sequence[int], options: Mapping[str, Any]) -> int:
    rank = max(ranks, default=0)
    if op in _BROADCASTING and rank > 4:
        return _BROADCASTING[op]
    if op == "TRANSPOSE" and rank > 4:
        return 4 if rank == 5 else 6
    if op in ("PAD", "PADV2", "STRIDED_SLICE") and rank > 4:
        return 4
    if op == "SLICE" and rank > 4:
        return 5
    if op == "MUL" and "int8" in dtypes:
        return 3  # scales whose product exceeds the output's
    if op == "FULLY_CONNECTED" and options.get("keepNumDims"):
        return 5
    if op == "TRANSPOSE_CONV":
        return 3  # a bias
    if op == "DEPTHWISE_CONV_2D" and (options["dilationHFactor"], options["dilationWFactor"]) != (1, 1):
        return 2
    if op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR") and options.get("halfPixelCenters"):
        return 3
    if op == "RESIZE_NEAREST_NEIGHBOR" and options.get("alignCorners"):
        return 3
    return 1
