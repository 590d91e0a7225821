"""ONNX Runtime's static quantization: QDQ, per-channel int8 weights, uint8 activations, its other options left alone.

    python onnxruntime_static.py MODEL.onnx IMAGES.npy OUT.onnx MinMax|Percentile|Entropy

IMAGES.npy holds what MODEL.onnx takes, float32 (N, 3, H, W).
"""

import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Images(CalibrationDataReader):
    """One image at a time."""

    def __init__(self, path: str) -> None:
        self.images = iter(np.load(path, mmap_mode="r"))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, None after the last."""
        image = next(self.images, None)
        return None if image is None else {"input": image[np.newaxis]}


model, images, target, method = sys.argv[1:]
quant_pre_process(model, "preprocessed.onnx", skip_symbolic_shape=True)
quantize_static(
    "preprocessed.onnx",
    target,
    Images(images),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
    calibrate_method=CalibrationMethod[method],
)
