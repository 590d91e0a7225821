"""ONNX Runtime's static quantization with percentile ranges: QDQ, per-channel int8 weights, uint8 activations.

    python onnxruntime_percentile.py MODEL.onnx IMAGES.npy OUT.onnx

IMAGES.npy holds float32 (N, H, W, 3) in [0, 1]; mean and standard deviation of the network are 0.5.
"""

import sys

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Images(CalibrationDataReader):
    """One normalised image at a time, NCHW."""

    def __init__(self, path: str) -> None:
        self.images = iter(np.load(path, mmap_mode="r"))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, None after the last."""
        image = next(self.images, None)
        return None if image is None else {"input": ((image.transpose(2, 0, 1)[np.newaxis] - 0.5) / 0.5)}


model, images, target = sys.argv[1:]
quant_pre_process(model, "preprocessed.onnx", skip_symbolic_shape=True)
quantize_static(
    "preprocessed.onnx",
    target,
    Images(images),
    quant_format=QuantFormat.QDQ,
    per_channel=True,
    activation_type=QuantType.QUInt8,
    weight_type=QuantType.QInt8,
    calibrate_method=CalibrationMethod.Percentile,
)
