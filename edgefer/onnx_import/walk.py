"""Walks an ONNX model once, from its inputs on, and so brings it to a float graph.

All inputs have static shapes (the file's own batch, else one; the Spec's image size), so that at each node everything
about its inputs is known: its shape, and its contents where no image decides them.  A call of a function, and an If
that is decided, are replaced by what they stand for; the operator is restated in `OPSET`; and what then depends on
constants and shapes alone is computed at once.  One pass therefore reaches the fixed point, however shapes were
computed in the file.  A batch of several is then restated as one image.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import onnx

from edgefer.errors import NOT_THE_FILE, InputError
from edgefer.graph.ir import OPSET, Graph, Node
from edgefer.graph.number_of_images import for_one_image
from edgefer.graph.onnx_io import array_of, constant_of, dense, node_of
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.onnx_import.functions import called, needed, reads, taken
from edgefer.onnx_import.inputs import input_info, taken_by
from edgefer.onnx_import.precision import require_finite
from edgefer.onnx_import.restate import function_of, restatement
from edgefer.onnx_import.scope import Call, Scope

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
_ONNX = ("", "ai.onnx")
_DEEPEST = 32  # calls within calls: a function that calls itself is hostile


@dataclass(frozen=True)
class Imported:
    """A network read from ONNX.

    Attributes:
        graph: in float32, at `OPSET`, with static shapes and a batch of one; values that the file names keep their
            names.
        notes: what the user should know of the reading.
    """

    graph: Graph
    notes: tuple[str, ...] = ()


def import_onnx(
    model: onnx.ModelProto,
    name: str = "",
    input_shape: tuple[int, ...] | None = None,
    states: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Imported:
    """Bring a loaded model to a float graph.

    Args:
        model: of opset 6 or newer, with all tensors in it.
        name: of the graph; the model's own by default.
        input_shape: what the network's only image has, where the file leaves dimensions open.
        states: the same for its further inputs, by name.

    Raises:
        InputError: the model is invalid, quantized already, random, has control flow or shapes that depend on the
            image, or operators that cannot be restated; the message names the node.
    """
    _require_text(model.graph)
    scope = Scope()
    proto = model.graph
    outputs = tuple(value.name for value in proto.output)
    for sparse in proto.sparse_initializer:
        scope.define(sparse.values.name, dense(sparse, f"initializer {sparse.values.name!r}"))
    for tensor in proto.initializer:
        scope.define(tensor.name, array_of(tensor, f"initializer {tensor.name!r}"))
    walk = _Walk(model, scope)
    order = needed(proto.node, outputs)
    read = {*outputs, *(value for index in order for value in reads(proto.node[index]))}
    inputs = input_info(proto, read, input_shape, states, scope.precision)
    scope.info.update(inputs)
    for index in order:
        node = proto.node[index]
        walk.visit(node, f"{node.op_type}_{index}", walk.opsets, 0)
    notes = (*scope.precision.notes(), *_unread(proto, read))
    return Imported(for_one_image(_graph(scope, name or proto.name, tuple(inputs), outputs)), notes)


def _unread(proto: onnx.GraphProto, read: Container[str]) -> Iterator[str]:
    """What the user should know of inputs that no output depends on."""
    for value in taken_by(proto):
        if value.name not in read:
            yield f"its input {value.name!r} is left out: no output depends on it"


class _Walk:
    """Visits nodes; `opsets` holds the version of each domain that the model imports."""

    def __init__(self, model: onnx.ModelProto, scope: Scope) -> None:
        if not model.opset_import:
            raise InputError("it does not say of which opset it is", remedy=NOT_THE_FILE)
        self.opsets = _opsets(model.opset_import)
        self._scope = scope
        self._functions = {(function.domain, function.name): function for function in model.functions}

    def visit(self, proto: onnx.NodeProto, stem: str, opsets: Mapping[str, int], depth: int) -> None:
        """Bring one node, and all that it stands for, into the scope."""
        if proto.op_type == "Constant" and proto.domain in _ONNX:
            self._scope.define(proto.output[0], constant_of(proto))
            return
        name = self._scope.node_name(proto.name or stem)
        if depth > _DEEPEST:
            raise InputError(f"node {name!r}: functions call each other too deeply")
        if function := self._functions.get((proto.domain, proto.op_type)):
            for inner in called(function, proto, name):
                self.visit(inner, inner.name, _opsets(function.opset_import), depth + 1)
            return
        _require_float_operator(proto, name)
        if proto.op_type == "If":
            for inner in taken(self._branch(proto, name), proto, name):
                self.visit(inner, inner.name, opsets, depth + 1)
            return
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in proto.attribute):
            raise _control_flow(name, proto.op_type)
        for inner in self._restated(proto, name, opsets[""]):
            self.visit(inner, inner.name, opsets, depth + 1)

    def _restated(self, proto: onnx.NodeProto, name: str, opset: int) -> list[onnx.NodeProto]:
        """Restate an operator, or return the nodes that define it."""
        call = Call(node_of(proto, name), self._scope)
        try:
            if restate := restatement(call, opset):
                restate(call)
                return []
            return called(function_of(call, proto, opset), proto, name)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"node {name!r} ({proto.op_type}): its inputs and attributes are not those of the operator",
                remedy="Is the file damaged?",
            ) from error

    def _branch(self, proto: onnx.NodeProto, name: str) -> onnx.GraphProto:
        condition = self._scope.constants.get(proto.input[0] if proto.input else "")
        if condition is None or condition.size != 1:
            raise _control_flow(name, proto.op_type)
        wanted = "then_branch" if condition.item() else "else_branch"
        for attribute in proto.attribute:
            if attribute.name == wanted:
                branch: onnx.GraphProto = attribute.g
                return branch
        raise InputError(f"node {name!r} (If): it has no {wanted}")


def _graph(scope: Scope, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
    """The graph of what is in scope, without what nothing reads."""
    for value in outputs:
        if value in scope.constants:
            scope.hand_on(value)
        elif value not in scope.info:
            raise InputError(f"nothing makes its output {value!r}")
    read = {value for node in scope.nodes for value in node.inputs} | set(outputs)
    nodes = tuple(_without_unread(node, read) for node in scope.nodes)
    graph = remove_dead(Graph(name, nodes, inputs, outputs, scope.constants, scope.info))
    for value, array in graph.constants.items():
        require_finite(value, array, {node.op for node in graph.consumers.get(value, ())})
    return graph


def _without_unread(node: Node, read: set[str]) -> Node:
    """The node without optional outputs that nothing reads, such as the indices of a MaxPool."""
    formal = onnx.defs.get_schema(node.op, OPSET, "").outputs
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    outputs = [
        value if value in read or index >= len(formal) or formal[index].option != optional else ""
        for index, value in enumerate(node.outputs)
    ]
    while len(outputs) > 1 and not outputs[-1]:
        outputs.pop()
    return node if tuple(outputs) == node.outputs else replace(node, outputs=tuple(outputs))


def _opsets(imports: object) -> dict[str, int]:
    versions = {"" if entry.domain in _ONNX else entry.domain: entry.version for entry in imports}  # type: ignore[attr-defined]
    versions.setdefault("", OPSET)
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= versions[""] <= newest:
        raise InputError(
            f"it is of opset {versions['']}, and the onnx that is installed knows those up to {newest}",
            remedy="pip install --upgrade onnx, or export the network with an older opset.",
        )
    return versions


def _require_text(graph: onnx.GraphProto) -> None:
    """Protobuf hands names that are not UTF-8 on as bytes."""
    texts: list[object] = [part.name for part in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
    if not all(isinstance(text, str) for text in texts):
        raise InputError("it is damaged: a name in it is not UTF-8", remedy="Export or download it again.")


def _require_float_operator(proto: onnx.NodeProto, name: str) -> None:
    if proto.op_type in _QUANTIZED or proto.op_type.startswith(("QLinear", "QGemm")):
        raise InputError(
            f"node {name!r} ({proto.op_type}): the network is quantized already",
            remedy="Bring the float network that it was made from: edgefer chooses scales of its own.",
        )
    if proto.domain not in _ONNX:
        raise InputError(
            f"node {name!r}: operator {proto.domain}.{proto.op_type} is not an ONNX operator",
            remedy="Export the network with standard operators only, and before a runtime's optimiser rewrites it.",
        )
    if proto.op_type in _RANDOM:
        raise InputError(
            f"node {name!r} ({proto.op_type}) draws random numbers",
            remedy="Export the network as it infers: model.eval() before torch.onnx.export.",
        )


def _control_flow(name: str, op: str) -> InputError:
    return InputError(
        f"node {name!r}: {op} holds a subgraph (control flow) that no constant decides",
        remedy="Export the network without control flow: trace it with an example input (torch.onnx.export).",
    )
