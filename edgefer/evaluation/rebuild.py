"""From a bundle back to the networks it was emitted from: the float one, and the one whose integers it stores.

The two differ where quantization corrected biases or chose roundings.  The ONNX artifact holds every integer, so
the quantized network is read back from it; that this is the network of all artifacts is checked by emitting them
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from onnx import numpy_helper

from edgefer.bundle import Bundle
from edgefer.emit.artifact import emit
from edgefer.emit.onnx import CHANNELS_LAST
from edgefer.errors import InputError, UnsupportedOperatorError
from edgefer.graph.batches import for_one, takes_batches
from edgefer.graph.ir import Array, Graph, Node
from edgefer.graph.number_of_images import without_repeats
from edgefer.graph.onnx_io import from_onnx, with_whole_nodes
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.plan import Plan
from edgefer.runtime.runners import onnx_session
from edgefer.spec import ENDS_KEY


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What a bundle was emitted from.

    Attributes:
        reference: the float network, pixels in and meanings out.
        graph: the network that was quantized, with the names that the plan uses.
        plan: how it was quantized.
        exact: per format, whether emitting `graph` gives the bundle's file to the byte.
    """

    reference: Graph
    graph: Graph
    plan: Plan
    exact: Mapping[str, bool]


def rebuild(bundle: Bundle) -> Rebuilt:
    """Read a bundle's networks and plan, and check that they explain its artifacts.

    Without an int8 ONNX artifact the float network stands for the quantized one, which explains nothing exactly.

    Raises:
        InputError: a file cannot be read, or the plan is of another network.
    """
    formats = sorted(artifact.format for artifact in bundle.artifacts if not artifact.is_reference)
    reference = graph = _read(bundle.artifact("onnx", "float32"), bundle.plan)
    if "onnx" in formats:
        graph = _read(bundle.artifact("onnx"), bundle.plan)
    known = {node.name for node in graph.nodes} | graph.info.keys()
    if strangers := (bundle.plan.nodes.keys() | bundle.plan.tensors.keys()) - known:
        raise InputError(f"{bundle.path / 'plan.json'}: names {min(strangers)!r}, which the artifacts do not hold")
    exact = {format: _emit(bundle, graph, format) == bundle.artifact(format).read_bytes() for format in formats}
    return Rebuilt(reference, graph, bundle.plan, exact)


def _read(path: Path, plan: Plan) -> Graph:
    try:
        graph = without_repeats(from_onnx(_dequantized(onnx.load(path), plan)))
        return remove_dead(with_whole_nodes(_with_fused_activations(graph)))
    except InputError as error:
        raise InputError(
            f"{path}: cannot be rebuilt: {error.message}", remedy=error.remedy, detail=error.detail
        ) from error
    except Exception as error:  # protobuf, onnx and the OS each raise their own
        raise InputError(
            f"{path}: cannot be rebuilt, as it is not what edgefer wrote",
            remedy="Convert the network again.",
            detail=str(error),
        ) from error


def _emit(bundle: Bundle, graph: Graph, format: str) -> bytes:
    batched = format == "onnx" and takes_batches(onnx.load(bundle.artifact(format)))
    try:
        return emit(format, graph, bundle.plan, bundle.spec, bundle.name, batched=batched)
    except UnsupportedOperatorError:
        return b""


def _dequantized(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Undo what `emit_onnx` does: drop what it added, and give constants their real values."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    known = set(initializers)
    names: dict[str, str] = {}
    small: dict[str, str] = {}
    storing: list[onnx.NodeProto] = []
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        value, _, part = node.name.rpartition("/")
        is_constant = value in plan.tensors and len(node.input) > 0 and known.issuperset(node.input)
        if node.op_type == "QuantizeLinear":
            names[node.input[0]] = value
        elif part == CHANNELS_LAST and value in plan.tensors:
            names[node.output[0]] = value
        elif node.op_type == "Expand" and is_constant:
            small[node.output[0]] = node.input[0]
            known.update(node.output)
        elif node.op_type == "DequantizeLinear" or is_constant:
            if value not in plan.tensors:
                raise InputError(f"it stores {value!r}, which plan.json does not name")
            names[node.output[0]] = value
            if is_constant:
                node.input[:] = [small.get(name, name) for name in node.input]
                storing.append(node)
                known.update(node.output)
        else:
            nodes.append(node)
    real = _computed(model, {names[node.output[0]]: node.output[0] for node in storing}, storing)
    for node in nodes:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    read = {value for node in nodes for value in node.input}
    kept = [tensor for name, tensor in initializers.items() if name in read and name not in real]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if takes_batches(changed):
        for_one(changed)
    if any(entry.key == ENDS_KEY for entry in changed.metadata_props):
        for end in (*changed.graph.input, *changed.graph.output):
            end.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del changed.graph.node[:], changed.graph.initializer[:]
    changed.graph.node.extend(nodes)
    changed.graph.initializer.extend([*kept, *(numpy_helper.from_array(array, name) for name, array in real.items())])
    return changed


def _computed(model: onnx.ModelProto, values: Mapping[str, str], nodes: Sequence[onnx.NodeProto]) -> dict[str, Array]:
    """The contents of `values`, which `nodes` compute from constants."""
    if not values:
        return {}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values.values()
    )
    return dict(zip(values, onnx_session(part).run(list(values.values()), {}), strict=True))


def _with_fused_activations(graph: Graph) -> Graph:
    """Undo what `to_onnx` does to a node with an activation: it wrote two."""
    nodes: list[Node] = []
    between: set[str] = set()
    for node in graph.nodes:
        activation = {"Relu": "Relu", "Clip": "Relu6"}.get(node.op)
        before = nodes[-1] if nodes else None
        if before is not None and activation is not None and node.name == f"{before.name}/{activation}":
            nodes[-1] = replace(before, outputs=node.outputs, activation=activation)  # type: ignore[arg-type]
            between.add(before.output)
        else:
            nodes.append(node)
    info = {name: entry for name, entry in graph.info.items() if name not in between}
    return replace(graph, nodes=tuple(nodes), info=info)
