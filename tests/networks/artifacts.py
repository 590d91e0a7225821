"""What artifacts hold and say, read with the runtimes' own libraries."""

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgefer.images.preprocess import to_pixels
from edgefer.runtime.runners import open_runner

STORED = "/stored"


def tflite_weights(path):
    """Int8 constants by name, in the float graph's layout (O, I, ...)."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    weights = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None and len(data):
            array = np.asarray(data, np.uint8).view(np.int8).reshape(tensor.shape)
            weights[tensor.name.decode()] = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
    return weights


def onnx_weights(path):
    """Int8 initializers, by the name of the float constant; activations and their like are uint8."""
    tensors = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
    return {
        name.removesuffix(STORED): array
        for name, array in tensors.items()
        if name.endswith(STORED) and array.dtype == np.int8
    }


def assert_same_weights(bundle):
    """The TFLite and the ONNX artifact of a bundle hold the same integers as weights."""
    tflite = tflite_weights(bundle.artifact("tflite"))
    for name, array in onnx_weights(bundle.artifact("onnx")).items():
        found = tflite[name]
        if found.shape != array.shape:  # a depthwise kernel has its channels last
            found = found.swapaxes(0, 1)
        np.testing.assert_array_equal(found, array, name)


def choices(bundle, images, head):
    """The class that each model of a bundle chooses, by format; the float one is `float`."""
    runners = {
        "float": open_runner(bundle.artifact("onnx", "float32"), "onnx"),
        **{format: open_runner(bundle.artifact(format), format) for format in ("tflite", "onnx")},
    }
    chosen = {name: np.empty(len(images), int) for name in runners}
    for index in range(len(images)):
        pixels = to_pixels(images.read(index), bundle.spec.input)
        for name, runner in runners.items():
            chosen[name][index] = runner(pixels)[head].argmax()
    return chosen
