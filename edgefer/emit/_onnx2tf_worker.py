"""Converts a float ONNX file to an int8 TFLite file; runs inside the onnx2tf environment, not in edgefer's.

    python -I _onnx2tf_worker.py MODEL.onnx PIXELS OUT.tflite

MODEL.onnx takes uint8 pixels (1, H, W, 3) and is overwritten.  PIXELS holds the calibration images, uint8 (H, W, 3)
one after the other without a header.  The working directory must be empty otherwise and is littered.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import numpy.typing as npt
import onnx2tf
import onnxruntime
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

Images = npt.NDArray[np.uint8]

SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
CAUSE = "cause.txt"
"""Where it is said, in the working directory, why this failed."""
PROBES = 4
TOLERANCE = 1e-3


def main(model_path: str, pixels_path: str, output_path: str) -> None:
    """Convert, refusing a float network that does not compute what the ONNX file does."""
    session = onnxruntime.InferenceSession(model_path)
    (pixels,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    images = np.memmap(pixels_path, np.uint8, "r").reshape(-1, *pixels.shape)

    network = rebuild_in_keras(model_path, pixels.name, images)
    serve = tf.function(
        lambda image: dict(zip(names, tf.nest.flatten(network(image)), strict=True)),
        input_signature=[tf.TensorSpec(pixels.shape, tf.uint8, name=pixels.name)],
    )
    for image in images[:PROBES]:
        for name, expected in zip(names, session.run(None, {pixels.name: image}), strict=True):
            error = np.abs(serve(image)[name].numpy() - expected).max()
            if not error <= TOLERANCE:
                raise SystemExit(f"onnx2tf rebuilt another network: output {name!r} is off by {error:.3g}")

    Path(output_path).write_bytes(rename_tensors(quantize(serve, network, images)))


def rebuild_in_keras(model_path: str, input_name: str, images: Images) -> Any:
    """The network as a tf_keras model, without writing any of onnx2tf's own output files."""
    np.save(SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    np.save("probe.npy", images[0])
    return onnx2tf.convert(
        input_onnx_file_path=model_path,
        output_folder_path="saved_model",
        keep_shape_absolutely_input_names=[input_name],
        custom_input_op_name_np_data_path=[[input_name, "probe.npy", 0.0, 1.0]],
        disable_model_save=True,
        verbosity="warn",
    )


def quantize(serve: Any, network: Any, images: Images) -> bytes:
    """Full int8: per-channel weights, int8 activations with ranges from `images`; float where TFLite has no int8."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.asarray(image)] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    return bytes(converter.convert())


def rename_tensors(content: bytes) -> bytes:
    """Give input and output tensors the names that the signature has for them."""
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    for signature in model.signatureDefs:
        for entry in [*signature.inputs, *signature.outputs]:
            model.subgraphs[signature.subgraphIndex].tensors[entry.tensorIndex].name = entry.name
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def cause(error: BaseException) -> str:
    """What failed, in one line: MLIR says it somewhere in pages."""
    text = str(error)
    missing = sorted({*re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text)})
    if missing:
        return f"TFLite has no operator {', '.join(missing)}"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first[:200] if isinstance(error, SystemExit) else f"{type(error).__name__}: {first[:200]}"


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException as error:
        Path(CAUSE).write_text(cause(error), "utf-8")
        raise
