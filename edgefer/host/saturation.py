"""Whether int8 sums saturate in ONNX Runtime on this machine, by trying: the one place that decides on EXACT.

x86 without VNNI adds two products of uint8 and int8 in 16 bits, where 2 * 255 * 127 does not fit, which ruins int8
networks.  EXACT has ONNX Runtime compute otherwise; where nothing saturates it only costs time, up to half as much
again.  Which kernels are chosen depends on several flags of the CPU, on what hides them, and on the version; so not
these are asked, but the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeAlias

EXACT = ("session.x64quantprecision", "1")
"""Session option with which ONNX Runtime's int8 sums are exact on every CPU."""

Run: TypeAlias = Callable[[bytes], Iterable[Any]]
"""Runs an ONNX model on inputs full of 255, without EXACT; returns its outputs, arrays."""

_CHANNELS = 64
_OTHERS = 32


@cache
def sums_saturate() -> bool:
    """Whether sessions need EXACT on this machine: found once, in some milliseconds."""
    return saturates(_run)


def saturates(run: Run) -> bool:
    """Whether sums saturate where `run` computes; where that cannot be told, they may.

    Args:
        run: runs the model of `probe`.
    """
    try:
        return any((values != 255).any() for values in run(probe()))
    except Exception:  # an absent or broken runtime may raise anything
        return True


@cache
def probe() -> bytes:
    """An ONNX model that returns what it is given, uint8 values of 255, unless its sums saturate.

    It has a layer for each kind of kernel that adds products: convolutions of a pixel, of a window, and in groups,
    and a matrix product.  All weights are 127, and the largest sum becomes 255.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    layers: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
        "pixel": ("Conv", (1, _CHANNELS, 4, 4), (_OTHERS, _CHANNELS, 1, 1), {}),
        "window": ("Conv", (1, 3, 6, 6), (_OTHERS, 3, 3, 3), {}),
        "groups": ("Conv", (1, _CHANNELS, 4, 4), (_OTHERS, _CHANNELS // 2, 1, 1), {"group": 2}),
        "matrix": ("Gemm", (1, _CHANNELS), (_OTHERS, _CHANNELS), {"transB": 1}),
    }
    constants: dict[str, Any] = {"one": np.float32(1), "zero": np.uint8(0)}
    nodes, inputs, outputs = [], [], []
    for name, (op, shape, weights, attributes) in layers.items():
        source, stored, x, w, y, result = (f"{name}/{part}" for part in ("source", "stored", "x", "w", "y", "result"))
        constants[stored] = np.full(weights, 127, np.int8)
        constants[f"{stored}/scale"] = np.ones(weights[0], np.float32)
        constants[f"{stored}/zero"] = np.zeros(weights[0], np.int8)
        constants[f"{result}/scale"] = np.float32(127 * np.prod(weights[1:]))
        nodes += [
            helper.make_node("DequantizeLinear", [source, "one", "zero"], [x]),
            helper.make_node("DequantizeLinear", [stored, f"{stored}/scale", f"{stored}/zero"], [w], axis=0),
            helper.make_node(op, [x, w], [y], **attributes),
            helper.make_node("QuantizeLinear", [y, f"{result}/scale", "zero"], [result]),
        ]
        inputs.append(helper.make_tensor_value_info(source, TensorProto.UINT8, shape))
        sides = (side - window + 1 for side, window in zip(shape[2:], weights[2:], strict=True))
        outputs.append(helper.make_tensor_value_info(result, TensorProto.UINT8, (1, weights[0], *sides)))
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "probe", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString(deterministic=True))


def _run(model: bytes) -> Iterable[Any]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {source.name: np.full(source.shape, 255, np.uint8) for source in session.get_inputs()}
    found: Iterable[Any] = session.run(None, feeds)
    return found
