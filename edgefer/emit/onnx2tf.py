"""TFLite by onnx2tf and tensorflow, for networks with operators that our own emitter does not know."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgefer.errors import EdgeferError, InputError
from edgefer.host.environments import ONNX2TF

WORKER = Path(__file__).with_name("_onnx2tf_worker.py")


def emit_with_onnx2tf(model: bytes, calibration: Iterable[npt.NDArray[np.uint8]], *, timeout_s: float = 3600) -> bytes:
    """Convert a float ONNX file to a full-int8 TFLite file, with tensorflow's own min/max ranges.

    The result takes the same uint8 pixels and returns the same float32 heads under the same names; weights are
    int8 per channel, activations int8.  The float network that onnx2tf rebuilt is compared with the ONNX file first.

    Args:
        model: a serialised ONNX model from uint8 pixels (1, H, W, 3) to float32 heads.
        calibration: RGB images, uint8 (H, W, 3); streamed to a temporary file, 3·H·W bytes each.
        timeout_s: seconds after which the tool is stopped.

    Raises:
        UsageError: the onnx2tf environment is missing or outdated.
        InputError: there are no images, or the tool failed; its last words and its log are named.
    """
    ONNX2TF.require()
    shape = _pixel_shape(model)
    with tempfile.TemporaryDirectory(prefix="edgefer-onnx2tf-") as name:
        directory = Path(name)
        source, pixels, target = (directory / file for file in ("model.onnx", "pixels", "model.tflite"))
        source.write_bytes(model)
        with pixels.open("wb") as file:
            for image in calibration:
                if image.shape != shape or image.dtype != np.uint8:
                    raise ValueError(f"calibration image is {image.dtype} {image.shape}, expected uint8 {shape}")
                file.write(np.ascontiguousarray(image).data)
        if not pixels.stat().st_size:
            raise InputError("onnx2tf needs calibration images, but there are none")
        try:
            ONNX2TF.run([WORKER, source, pixels, target], cwd=directory, timeout_s=timeout_s)
        except EdgeferError as error:
            cause = directory / "cause.txt"
            if not cause.exists():
                raise InputError(error.message, remedy=error.remedy) from error
            raise InputError(
                f"onnx2tf cannot do it: {cause.read_text('utf-8').strip()}",
                remedy="Leave TFLite out: --formats onnx.",
                detail=error.remedy,
            ) from error
        return target.read_bytes()


def _pixel_shape(model: bytes) -> tuple[int, ...]:
    (pixels,) = onnx.load_model_from_string(model).graph.input
    kind = pixels.type.tensor_type
    shape = tuple(dimension.dim_value for dimension in kind.shape.dim)
    if kind.elem_type != onnx.TensorProto.UINT8 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise ValueError(f"model input {pixels.name!r} is not uint8 (1, H, W, 3)")
    return shape[1:]
