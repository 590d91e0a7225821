"""Float graphs to ONNX models and back, at `OPSET`; `edgefer.onnx_import` reads what others have written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import pi, prod, sqrt

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefer.errors import InputError
from edgefer.graph.fold import LARGEST_RESULT
from edgefer.graph.inference import node_proto
from edgefer.graph.ir import OPSET, Array, Attribute, Graph, Node, TensorInfo, fresh_name, unused_name

_LARGE = 1 << 10  # bytes of a constant that may be held apart from its model


def from_onnx(model: onnx.ModelProto, name: str = "") -> Graph:
    """The graph of a model that `to_onnx` could have written: at `OPSET`, with static shapes and float32 values.

    Raises:
        InputError: the model is invalid, or its shapes are not known before running.
    """
    proto = model.graph
    constants: dict[str, Array] = {}
    for tensor in proto.initializer:
        constants[tensor.name] = array_of(tensor, f"initializer {tensor.name!r}")
    nodes: list[Node] = []
    names: set[str] = set()
    for index, item in enumerate(proto.node):
        if item.op_type == "Constant":
            constants[item.output[0]] = constant_of(item)
        else:
            nodes.append(node_of(item, unused_name(item.name or f"{item.op_type}_{index}", names)))
            names.add(nodes[-1].name)
    inputs = tuple(value.name for value in proto.input if value.name not in constants)
    graph = Graph(
        name or proto.name, tuple(nodes), inputs, tuple(value.name for value in proto.output), constants, _infer(model)
    )
    for node in nodes:
        if unknown := [value for value in filter(None, (*node.inputs, *node.outputs)) if value not in graph.info]:
            raise InputError(f"node {node.name!r} ({node.op}): the shape of {unknown[0]!r} is not known before running")
    return graph


def to_onnx(
    graph: Graph,
    extra_outputs: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
    held: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    """The model of a graph; equal graphs give equal bytes.

    Args:
        graph: any graph; fused activations become nodes of their own.
        extra_outputs: values to return beside the graph's own outputs.
        metadata: key-value pairs for `metadata_props`.
        held: is given the large constants, to which the model then refers only: whoever runs it hands them over.
    """
    nodes = [proto for node in graph.nodes for proto in _node_protos(graph, node)]
    outputs = [*graph.outputs, *(value for value in extra_outputs if value not in graph.outputs)]
    used = {value for node in nodes for value in node.input} | set(outputs)
    constants = {value: np.asarray(array, order="C") for value, array in graph.constants.items() if value in used}
    large = {value: array for value, array in constants.items() if held is not None and array.nbytes >= _LARGE}
    if held is not None:
        held.update(large)
    proto = helper.make_graph(
        nodes,
        graph.name or "network",
        [_value_info(graph, v) for v in graph.inputs],
        [_value_info(graph, v) for v in outputs],
    )
    model = helper.make_model(
        proto, producer_name="edgefer", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    for value, array in constants.items():  # one by one, as they are as large as the network, and are copied
        model.graph.initializer.append(
            _reference(array, value) if value in large else numpy_helper.from_array(array, value)
        )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    return model


def _reference(array: Array, name: str) -> onnx.TensorProto:
    """What stands for a constant that is elsewhere."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "held", "offset": "0", "length": str(array.nbytes)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def _infer(model: onnx.ModelProto) -> dict[str, TensorInfo]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:
        raise InputError(
            "shapes in it do not fit together",
            remedy="Is it a valid model? Try onnx.checker.check_model on it.",
            detail=str(error),
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


def node_of(proto: onnx.NodeProto, name: str) -> Node:
    """The node of a protobuf, under a name of its own."""
    attributes: dict[str, Attribute] = {attribute.name: _attribute(attribute, name) for attribute in proto.attribute}
    inputs = tuple(proto.input)
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    return Node(name, proto.op_type, inputs, tuple(proto.output), attributes)


def _attribute(attribute: onnx.AttributeProto, node: str) -> Attribute:
    value = helper.get_attribute_value(attribute) if attribute.type else None
    if value is None:
        raise InputError(f"node {node!r}: its attribute {attribute.name!r} is damaged")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return array_of(value, f"node {node!r}")
    if isinstance(value, int | float):
        return value
    if value is None:
        raise InputError(f"node {node!r}: an attribute of it has no type, as the file is damaged")
    return tuple(item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value)


def constant_of(proto: onnx.NodeProto) -> Array:
    """What a Constant node holds.

    Raises:
        InputError: it is no array of numbers, or damaged.
    """
    where = f"constant {proto.output[0]!r}"
    attribute = next(iter(proto.attribute), None)
    value = helper.get_attribute_value(attribute) if attribute is not None and attribute.type else None
    if isinstance(value, onnx.TensorProto):
        return array_of(value, where)
    if isinstance(value, onnx.SparseTensorProto):
        return dense(value, where)
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    if attribute is None or attribute.name not in kinds or not np.issubdtype(np.asarray(value).dtype, np.number):
        raise InputError(f"{where}: neither a tensor nor numbers")
    return np.asarray(value, kinds[attribute.name])


def array_of(tensor: onnx.TensorProto, where: str) -> Array:
    """The numbers of a tensor; `where` names it in errors.

    Raises:
        InputError: its data is damaged.
    """
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise InputError(f"{where}: its data is damaged") from error


def dense(sparse: onnx.SparseTensorProto, where: str) -> Array:
    """All numbers of a sparse tensor.

    Raises:
        InputError: its data is damaged.
    """
    values, indices = array_of(sparse.values, where), array_of(sparse.indices, where)
    if (size := prod(sparse.dims) * values.dtype.itemsize) > LARGEST_RESULT:
        raise InputError(f"{where}: it would unfold to {size:,} bytes")
    try:
        array = np.zeros(tuple(sparse.dims), values.dtype)
        array[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, array.shape)] = values
    except (ValueError, IndexError, MemoryError) as error:
        raise InputError(f"{where}: its data is damaged") from error
    return array


def _node_protos(graph: Graph, node: Node) -> list[onnx.NodeProto]:
    if node.op in _SPELLED and not node.activation:
        return _SPELLED[node.op](graph, node)
    if not node.activation:
        return [node_proto(node)]
    before = fresh_name(graph, f"{node.output}/before_{node.activation}")
    producer = node_proto(node, (before,))
    if node.activation == "Relu":
        return [producer, helper.make_node("Relu", [before], node.outputs, f"{node.name}/Relu")]
    limits = [  # as tensors: onnx2tf fails on constants that are mere numbers
        helper.make_node(
            "Constant",
            [],
            [f"{before}/{bound}"],
            f"{node.name}/{bound}",
            value=numpy_helper.from_array(np.asarray(bound, np.float32)),
        )
        for bound in (0.0, 6.0)
    ]
    return [
        producer,
        *limits,
        helper.make_node("Clip", [before, *(item.output[0] for item in limits)], node.outputs, f"{node.name}/Relu6"),
    ]


class _Steps:
    """Nodes that spell out one."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.protos: list[onnx.NodeProto] = []
        self._graph, self._node = graph, node

    def add(self, op: str, *operands: str | float | Array, output: str = "") -> str:
        """One more node, of values, numbers or arrays; returns what it makes."""
        names = [each if isinstance(each, str) else self._constant(each) for each in operands]
        output = output or self._name(op)
        self.protos.append(helper.make_node(op, names, [output], f"{self._node.name}/{op}_{len(self.protos)}"))
        return output

    def _constant(self, number: float | Array) -> str:
        name = self._name("number")
        value = numpy_helper.from_array(np.asarray(number, np.float32))
        self.protos.append(helper.make_node("Constant", [], [name], name, value=value))
        return name

    def _name(self, part: str) -> str:
        return fresh_name(self._graph, f"{self._node.output}/{part}_{len(self.protos)}")


def _gelu(graph: Graph, node: Node) -> list[onnx.NodeProto]:
    """Gelu as older opsets say it, which ONNX Runtime has a kernel for."""
    steps, x = _Steps(graph, node), node.inputs[0]
    if node.str("approximate", "none") == "tanh":
        cubic = steps.add("Add", x, steps.add("Mul", steps.add("Pow", x, 3.0), 0.044715))
        inside = steps.add("Tanh", steps.add("Mul", cubic, sqrt(2 / pi)))
        steps.add("Mul", steps.add("Mul", x, 0.5), steps.add("Add", inside, 1.0), output=node.output)
    else:
        inside = steps.add("Erf", steps.add("Div", x, sqrt(2)))
        steps.add("Mul", steps.add("Mul", x, steps.add("Add", inside, 1.0)), 0.5, output=node.output)
    return steps.protos


def _prelu(graph: Graph, node: Node) -> list[onnx.NodeProto]:
    """The larger of x and slope * x where the slope is at most 1, the smaller where it is more: four times as fast."""
    x, slope = node.inputs
    if not graph.is_constant(slope):
        return [node_proto(node)]
    steps, slopes = _Steps(graph, node), graph.constants[slope]
    if slopes.max() <= 1:
        steps.add("Max", x, steps.add("Mul", x, slope), output=node.output)
    elif slopes.min() >= 1:
        steps.add("Min", x, steps.add("Mul", x, slope), output=node.output)
    else:
        larger = steps.add("Max", x, steps.add("Mul", x, np.minimum(slopes, 1)))
        steps.add("Min", larger, steps.add("Mul", larger, np.maximum(slopes, 1)), output=node.output)
    return steps.protos


_SPELLED = {"Gelu": _gelu, "PRelu": _prelu}
_STEP = re.compile(r"(?P<node>.+)/(?P<step>[A-Z][A-Za-z]*_\d+)")


def with_whole_nodes(graph: Graph) -> Graph:
    """The graph of a model that `to_onnx` wrote, with the nodes that it spelled out."""
    steps: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if found := _STEP.fullmatch(node.name):
            steps.setdefault(found["node"], []).append(node)
    whole = {name: made for name, some in steps.items() if (made := _whole(name, some))}
    last = {steps[name][-1].name: node for name, node in whole.items()}
    between = {step.name: step.output for name in whole for step in steps[name][:-1]}
    nodes = tuple(last.get(node.name, node) for node in graph.nodes if node.name not in between)
    info = {value: entry for value, entry in graph.info.items() if value not in between.values()}
    return replace(graph, nodes=nodes, info=info)


def _whole(name: str, steps: Sequence[Node]) -> Node | None:
    """The node of that name which these steps, in order, spell out; None where they are others."""
    first, last = steps[0], steps[-1]
    match tuple(step.name.removeprefix(f"{name}/") for step in steps):
        case ("Div_1", "Erf_2", "Add_4", "Mul_5", "Mul_7"):
            return Node(name, "Gelu", first.inputs[:1], last.outputs)
        case ("Pow_1", "Mul_3", "Add_4", "Mul_6", "Tanh_7", "Mul_9", "Add_11", "Mul_12"):
            return Node(name, "Gelu", first.inputs[:1], last.outputs, {"approximate": "tanh"})
        case ("Mul_0", "Max_1" | "Min_1") if last.inputs == (first.inputs[0], first.output):
            return Node(name, "PRelu", first.inputs, last.outputs)
    return None


def _value_info(graph: Graph, value: str) -> onnx.ValueInfoProto:
    info = graph.info[value]
    return helper.make_tensor_value_info(value, helper.np_dtype_to_tensor_dtype(info.dtype), info.shape)
