"""NNCF's post-training quantization of an ONNX file: QDQ, its other options left alone.

    python nncf_onnx.py MODEL.onnx IMAGES.npy OUT.onnx performance|mixed

IMAGES.npy holds what MODEL.onnx takes, float32 (N, 3, H, W); all of them are used.
"""

import sys

import nncf
import numpy as np
import onnx

model, images, target, preset = sys.argv[1:]
feeds = np.load(images, mmap_mode="r")
quantized = nncf.quantize(
    onnx.load(model),
    nncf.Dataset(feeds, lambda image: {"input": image[np.newaxis]}),
    preset=nncf.QuantizationPreset(preset),
    subset_size=len(feeds),
)
onnx.save(quantized, target)
