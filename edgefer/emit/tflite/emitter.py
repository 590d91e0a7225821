"""A float graph and a Plan become a TFLite file."""

from __future__ import annotations

import numpy as np

from edgefer.emit.tflite.flatbuffer import add_metadata, pack
from edgefer.emit.tflite.layout import default, identity
from edgefer.emit.tflite.metadata import METADATA_NAME
from edgefer.emit.tflite.ops import HANDLERS
from edgefer.emit.tflite.site import REMEDY, Site
from edgefer.emit.tflite.values import Values
from edgefer.emit.tflite.writer import Writer
from edgefer.errors import InputError, UnsupportedOperatorError
from edgefer.graph.ir import Graph, Node
from edgefer.plan import Plan


def emit_tflite(graph: Graph, plan: Plan, *, metadata: bytes | None = None) -> bytes:
    """The TFLite file of `graph`, quantized as `plan` says; equal arguments give equal bytes.

    Args:
        graph: normalised; its inputs and outputs keep their names, order and ONNX shapes.
        plan: an empty one gives the float network. An input or output that it names is int8 in the file too.
        metadata: a TFLite Metadata flatbuffer to embed.

    Raises:
        UnsupportedOperatorError: a node cannot be expressed; `unsupported` lists them all beforehand.
        InputError: the plan does not fit the graph.
    """
    values = Values(graph, plan, Writer())
    inputs = _feed(values)
    for node in graph.nodes:
        _emit(values, node)
    outputs = _collect(values, inputs)
    model = values.writer.model(graph.name or "main", inputs, outputs)
    if metadata is not None:
        add_metadata(model, METADATA_NAME, metadata)
    return pack(model)


def unsupported(graph: Graph) -> list[UnsupportedOperatorError]:
    """What `emit_tflite` would say of each node that it would refuse, in network order."""
    values = Values(graph, Plan(), Writer())
    _feed(values)
    refused = []
    for node in graph.nodes:
        try:
            _emit(values, node)
        except UnsupportedOperatorError as error:
            refused.append(error)
            for output in filter(None, node.outputs):
                values.new(output, False, default(len(graph.shape(output))))
    return refused


def _feed(values: Values) -> dict[str, int]:
    return {
        value: values.new(value, _is_planned(values, value), identity(len(values.graph.shape(value))))
        for value in values.graph.inputs
    }


def _emit(values: Values, node: Node) -> None:
    entry = HANDLERS.get(node.op)
    if entry is None:
        raise UnsupportedOperatorError(node.name, node.op, "the TFLite emitter", remedy=REMEDY)
    site = Site(values, node, values.plan.is_int8(node.name))
    if node.activation and not entry.fuses:
        raise site.unsupported(f"a fused {node.activation}")
    if site.quantized and entry.keeps_params and not site.shares_params():
        raise InputError(f"plan: int8 node {node.name!r} ({node.op}) must share the parameters of its input and output")
    entry.handler(site)


def _collect(values: Values, inputs: dict[str, int]) -> dict[str, int]:
    """The output tensors, in ONNX layout, each a tensor of its own under its own name."""
    taken = set(inputs.values())
    outputs = {}
    for value in values.graph.outputs:
        layout = identity(len(values.graph.shape(value)))
        tensor = values.fetch(value, _is_planned(values, value), layout)
        if tensor in taken or values.writer.tensors[tensor].buffer:
            tensor = values.reshape(tensor, values.graph.shape(value), value)
        values.writer.rename(tensor, value)
        taken.add(tensor)
        outputs[value] = tensor
    return outputs


def _is_planned(values: Values, value: str) -> bool:
    return value in values.plan.tensors and values.graph.info[value].dtype == np.float32
