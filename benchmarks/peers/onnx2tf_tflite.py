"""onnx2tf's TFLite files of an ONNX file: float, and with images full int8 with per-channel weights.

    python onnx2tf_tflite.py MODEL.onnx FLOAT.tflite [IMAGES.npy INT8.tflite]

MODEL.onnx takes normalised images (N, 3, H, W); it is converted for one image at a time.  IMAGES.npy holds what
the TFLite file takes, float32 (N, H, W, 3).  onnx2tf has no option to write the full-int8 file alone: the
dynamic-range, float16 and 16-bit variants are made on the way.
"""

import os
import shutil
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import onnx
import onnx2tf

model, target, *quantized = sys.argv[1:]
network = onnx.load(model)
for value in (*network.graph.input, *network.graph.output):
    value.type.tensor_type.shape.dim[0].dim_value = 1
onnx.save(network, "model.onnx")

sample = "calibration_image_sample_data_20x128x128x3_float32.npy"  # absent, it would be downloaded
np.save(sample, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
mean, std = [[[[0.0, 0.0, 0.0]]]], [[[[1.0, 1.0, 1.0]]]]  # the images are normalised already
onnx2tf.convert(
    input_onnx_file_path="model.onnx",
    output_folder_path="saved_model",
    output_integer_quantized_tflite=bool(quantized),
    quant_type="per-channel",
    custom_input_op_name_np_data_path=[["input", quantized[0], mean, std]] if quantized else None,
    verbosity="warn",
)
shutil.copyfile("saved_model/model_float32.tflite", target)
if quantized:
    shutil.copyfile("saved_model/model_full_integer_quant.tflite", quantized[1])
