"""ONNX files to float graphs and back.

Reading fixes what deployment needs fixed: the opset, a batch of one, static shapes.  Whatever cannot be
fixed is an error that names the node or value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from edgefer.errors import NOT_THE_FILE, InputError
from edgefer.graph.ir import OPSET, Array, Attribute, Graph, Node, TensorInfo, fresh_name, unused_name
from edgefer.graph.round_down_pools import round_down_pools
from edgefer.host.text import file_stem

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
_HALVES = {"float16", "bfloat16"}
_CONTROL_FLOW = "export the network without control flow: trace it with an example input (torch.onnx.export)"


def read_onnx(path: Path, input_shape: tuple[int, ...] | None = None) -> Graph:
    """Read an ONNX file, external data included.

    Args:
        path: the file.
        input_shape: what the network's only image input has, where the file leaves dimensions open.

    Raises:
        InputError: the file is not a readable ONNX network, or its shapes cannot be made static.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf, onnx and the OS each raise their own
        raise InputError(
            f"{path}: not a readable ONNX file: {_first_line(error)}",
            remedy=NOT_THE_FILE,
        ) from error
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # as above
        raise InputError(
            f"{path}: its weights are in files of their own, which cannot be read: {_first_line(error)}",
            remedy="Put them beside it, under the names that they had.",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: not an ONNX network: it holds no nodes or no outputs")
    try:
        return from_onnx(model, file_stem(path.stem), input_shape)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", remedy=error.remedy) from error


def from_onnx(model: onnx.ModelProto, name: str = "", input_shape: tuple[int, ...] | None = None) -> Graph:
    """The float graph of a loaded model, at `OPSET`, with a batch of one and static shapes.

    Raises:
        InputError: the model is invalid, has control flow, is quantized already or computes in half precision,
            holds weights that are not finite, or its shapes cannot be made static.
    """
    _require_text(model.graph)
    for item in model.graph.node:
        _require_float_operator(item)
    model = round_down_pools(_at_opset(_with_static_inputs(model, input_shape)))
    proto = model.graph
    constants: dict[str, Array] = {}
    for tensor in proto.initializer:
        constants[tensor.name] = _array(tensor, f"initializer {tensor.name!r}")
    nodes: list[Node] = []
    names: set[str] = set()
    for index, item in enumerate(proto.node):
        if item.op_type == "Constant":
            constants[item.output[0]] = _constant_value(item)
        else:
            nodes.append(_node(item, unused_name(item.name or f"{item.op_type}_{index}", names)))
            names.add(nodes[-1].name)
    for name_of_constant, array in constants.items():
        _require_finite(name_of_constant, array)
    inputs = tuple(value.name for value in proto.input if value.name not in constants)
    graph = Graph(
        name or proto.name, tuple(nodes), inputs, tuple(value.name for value in proto.output), constants, _infer(model)
    )
    known = {*graph.inputs, *constants, *graph.producers, ""}
    for node in nodes:
        if unknown := [value for value in node.inputs if value not in known]:
            raise InputError(f"node {node.name!r} ({node.op}): nothing makes its input {unknown[0]!r}")
        for value in filter(None, node.outputs):
            if value not in graph.info:
                raise InputError(
                    f"node {node.name!r} ({node.op}): the shape of its output {value!r} is not known before running",
                    remedy="Export the network with static shapes (torch.onnx.export without dynamic_axes).",
                )
            if (dtype := graph.info[value].dtype.name) in _HALVES:
                raise InputError(
                    f"node {node.name!r} ({node.op}) computes in {dtype}; edgefer starts from float32",
                    remedy="Export the network in float32 (model.float() before torch.onnx.export).",
                )
    return graph


def to_onnx(
    graph: Graph, extra_outputs: Iterable[str] = (), metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The model of a graph; equal graphs give equal bytes.

    Args:
        graph: any graph; fused activations become nodes of their own.
        extra_outputs: values to return beside the graph's own outputs.
        metadata: key-value pairs for `metadata_props`.
    """
    nodes = [proto for node in graph.nodes for proto in _node_protos(graph, node)]
    outputs = [*graph.outputs, *(value for value in extra_outputs if value not in graph.outputs)]
    used = {value for node in nodes for value in node.input} | set(outputs)
    initializers = [
        numpy_helper.from_array(np.asarray(array, order="C"), value)
        for value, array in graph.constants.items()
        if value in used
    ]
    proto = helper.make_graph(
        nodes,
        graph.name or "network",
        [_value_info(graph, v) for v in graph.inputs],
        [_value_info(graph, v) for v in outputs],
        initializers,
    )
    model = helper.make_model(
        proto, producer_name="edgefer", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    return model


def _with_static_inputs(model: onnx.ModelProto, input_shape: tuple[int, ...] | None) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    known = {tensor.name for tensor in fixed.graph.initializer}
    inputs = [value for value in fixed.graph.input if value.name not in known]
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        if not value.type.tensor_type.HasField("shape"):
            raise InputError(
                f"input {value.name!r} has no shape", remedy="Export the network with a fixed input shape."
            )
        wanted = input_shape if input_shape is not None and len(inputs) == 1 and len(input_shape) == len(dims) else None
        for axis, dim in enumerate(dims):
            if dim.dim_value > 0 and not (axis == 0 and len(dims) > 1):
                continue
            size = 1 if axis == 0 else wanted[axis] if wanted else 0
            if size <= 0:
                raise InputError(
                    f"input {value.name!r}: dimension {axis} ({dim.dim_param or '?'}) has no fixed size",
                    remedy="Export with a fixed image size, or state input.size in the Spec.",
                )
            dim.Clear()
            dim.dim_value = size
    del fixed.graph.value_info[:]  # they may state the old batch
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed


def _at_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=OPSET)
    try:
        if version < OPSET:
            return onnx.version_converter.convert_version(model, OPSET)
        if version > OPSET:
            return _as_older_opset(model)
    except Exception as error:
        raise InputError(
            f"opset {version} cannot be brought to opset {OPSET}: {_first_line(error)}",
            remedy=f"Export the network with opset {OPSET}.",
        ) from error
    return model


def _as_older_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Newer opsets only widened the operators that networks for boards use: restate and check."""
    restated = onnx.ModelProto()
    restated.CopyFrom(model)
    for entry in restated.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(restated))
    return restated


def _infer(model: onnx.ModelProto) -> dict[str, TensorInfo]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:
        raise InputError(
            f"shapes do not fit together: {_first_line(error)}",
            remedy="Is it a valid model? Try onnx.checker.check_model on it.",
        ) from error
    info = {
        tensor.name: TensorInfo(tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type))
        for tensor in inferred.graph.initializer
    }
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor_type = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor_type.shape.dim]
        if tensor_type.HasField("shape") and tensor_type.elem_type and min(dims, default=0) >= 0:
            info[value.name] = TensorInfo(tuple(dims), helper.tensor_dtype_to_np_dtype(tensor_type.elem_type))
    return info


def _require_text(graph: onnx.GraphProto) -> None:
    """Protobuf hands names that are not UTF-8 on as bytes."""
    texts: list[object] = [part.name for part in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
    if not all(isinstance(text, str) for text in texts):
        raise InputError("it is damaged: a name in it is not UTF-8", remedy="Export or download it again.")


def _require_float_operator(proto: onnx.NodeProto) -> None:
    name = proto.name or ", ".join(proto.output)
    if proto.op_type in _QUANTIZED or proto.op_type.startswith("QLinear"):
        raise InputError(
            f"node {name!r} ({proto.op_type}): the network is quantized already", remedy="Bring the float network."
        )
    if proto.domain not in ("", "ai.onnx"):
        raise InputError(
            f"node {name!r}: operator {proto.domain}.{proto.op_type} is not an ONNX operator",
            remedy="Export the network with standard operators only.",
        )
    if any(attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in proto.attribute):
        raise InputError(f"node {name!r}: {proto.op_type} holds a subgraph (control flow)", remedy=_CONTROL_FLOW)


def _require_finite(name: str, array: Array) -> None:
    """Weights must be numbers; a bound (of a Clip, say) may be infinite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all() and (array.size > 1 or np.isnan(array).any()):
        raise InputError(
            f"constant {name!r} holds values that are not finite",
            remedy="The training diverged, or the file is damaged: bring another checkpoint.",
        )


def _node(proto: onnx.NodeProto, name: str) -> Node:
    attributes: dict[str, Attribute] = {
        attribute.name: _attribute(helper.get_attribute_value(attribute), name) for attribute in proto.attribute
    }
    inputs = tuple(proto.input)
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    return Node(name, proto.op_type, inputs, tuple(proto.output), attributes)


def _attribute(value: Any, node: str) -> Attribute:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return _array(value, f"node {node!r}")
    if isinstance(value, int | float):
        return value
    return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value)


def _constant_value(proto: onnx.NodeProto) -> Array:
    where = f"constant {proto.output[0]!r}"
    attribute = next(iter(proto.attribute), None)
    value = helper.get_attribute_value(attribute) if attribute is not None else None
    if isinstance(value, onnx.TensorProto):
        return _array(value, where)
    if attribute is None or attribute.name not in ("value_int", "value_ints", "value_float", "value_floats"):
        raise InputError(f"{where}: neither a tensor nor numbers")
    return np.asarray(value, np.int64 if "int" in attribute.name else np.float32)


def _array(tensor: onnx.TensorProto, where: str) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise InputError(f"{where}: its data is damaged: {_first_line(error)}") from error


def node_proto(node: Node, outputs: Sequence[str]) -> onnx.NodeProto:
    """The ONNX node of `node` without its fused activation."""
    attributes: dict[str, Any] = dict(node.attributes)
    return helper.make_node(node.op, node.inputs, outputs, node.name, **attributes)


def _node_protos(graph: Graph, node: Node) -> list[onnx.NodeProto]:
    if not node.activation:
        return [node_proto(node, node.outputs)]
    before = fresh_name(graph, f"{node.output}/before_{node.activation}")
    producer = node_proto(node, [before])
    if node.activation == "Relu":
        return [producer, helper.make_node("Relu", [before], node.outputs, f"{node.name}/Relu")]
    limits = [
        helper.make_node("Constant", [], [f"{before}/{bound}"], f"{node.name}/{bound}", value_float=bound)
        for bound in (0.0, 6.0)
    ]
    return [
        producer,
        *limits,
        helper.make_node("Clip", [before, *(item.output[0] for item in limits)], node.outputs, f"{node.name}/Relu6"),
    ]


def _value_info(graph: Graph, value: str) -> onnx.ValueInfoProto:
    info = graph.info[value]
    return helper.make_tensor_value_info(value, helper.np_dtype_to_tensor_dtype(info.dtype), info.shape)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
