"""From a bundle back to the graph and Plan that its artifacts were emitted from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from edgefer.bundle import Bundle
from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import describe, emit_tflite
from edgefer.errors import InputError, UnsupportedOperatorError
from edgefer.graph.ir import Graph, Node
from edgefer.graph.onnx_io import from_onnx
from edgefer.plan import Plan
from edgefer.spec import METADATA_KEY


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What a bundle was emitted from.

    Attributes:
        graph: the float network, pixels in and meanings out, with the names that the plan uses.
        plan: how it was quantized.
        exact: per format, whether emitting them gives the bundle's file to the byte.
    """

    graph: Graph
    plan: Plan
    exact: Mapping[str, bool]


def rebuild(bundle: Bundle) -> Rebuilt:
    """Read the float reference and the plan of a bundle, and check that they explain its artifacts.

    Raises:
        InputError: they cannot be read, or the plan is of another network.
    """
    reference = bundle.artifact("onnx", "float32")
    graph = _with_fused_activations(from_onnx(onnx.load(reference), bundle.name))
    strangers = (
        bundle.plan.nodes.keys() - {node.name for node in graph.nodes} | bundle.plan.tensors.keys() - graph.info.keys()
    )
    if strangers:
        raise InputError(f"{bundle.path / 'plan.json'}: names {min(strangers)!r}, which {reference.name} does not hold")
    formats = [artifact.format for artifact in bundle.artifacts if artifact.precision == "int8"]
    exact = {format: _emit(bundle, graph, format) == bundle.artifact(format).read_bytes() for format in sorted(formats)}
    return Rebuilt(graph, bundle.plan, exact)


def _emit(bundle: Bundle, graph: Graph, format: str) -> bytes:
    if format == "onnx":
        metadata = {METADATA_KEY: json.dumps(bundle.spec.to_dict())}
        return bytes(emit_onnx(graph, bundle.plan, metadata).SerializeToString(deterministic=True))
    try:
        return describe(emit_tflite(graph, bundle.plan), bundle.spec, bundle.name)
    except UnsupportedOperatorError:
        return b""


def _with_fused_activations(graph: Graph) -> Graph:
    """Undo what `to_onnx` does to a node with an activation: it wrote two."""
    nodes: list[Node] = []
    for node in graph.nodes:
        activation = {"Relu": "Relu", "Clip": "Relu6"}.get(node.op)
        before = graph.producers.get(node.input(0))
        if (
            before is not None
            and activation is not None
            and node.name == f"{before.name}/{activation}"
            and node.inputs[0] == f"{node.output}/before_{activation}"
        ):
            nodes[nodes.index(before)] = replace(before, outputs=node.outputs, activation=activation)  # type: ignore[arg-type]
        else:
            nodes.append(node)
    return graph.with_nodes(nodes)
