"""Calls of functions, and branches that are always taken, as the nodes that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import onnx
from onnx import helper

from edgefer.errors import InputError


def needed(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[int]:
    """Positions of the nodes that any of `outputs` depends on, in order."""
    wanted = set(outputs)
    kept = []
    for index in reversed(range(len(nodes))):
        if wanted.intersection(nodes[index].output):
            kept.append(index)
            wanted.update(reads(nodes[index]))
    return kept[::-1]


def called(function: onnx.FunctionProto, call: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
    """The body of a function where `call`, a node of that `name`, calls it."""
    if len(call.input) > len(function.input) or len(call.output) > len(function.output):
        raise InputError(f"node {name!r}: it has more inputs or outputs than its function {call.op_type} takes")
    actual = [*call.input, *[""] * (len(function.input) - len(call.input))]
    bound = dict(zip(function.input, actual, strict=True))
    attributes = {attribute.name: attribute for attribute in (*function.attribute_proto, *call.attribute)}
    results = [(inner, outer) for inner, outer in zip(function.output, call.output, strict=False) if outer]
    nodes = [_with_attributes(node, attributes) for node in function.node]
    return _renamed(nodes, bound, results, name, lambda value: True)


def taken(branch: onnx.GraphProto, node: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
    """The nodes of a branch, where `node`, an If of that `name`, takes it."""
    constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in branch.initializer]
    nodes = [*constants, *branch.node]
    own = {value for inner in nodes for value in inner.output}
    if len(branch.output) != len(node.output):
        raise InputError(f"node {name!r} (If): its branch has another number of outputs")
    results = [(inner.name, outer) for inner, outer in zip(branch.output, node.output, strict=True) if outer]
    return _renamed(nodes, {}, results, name, own.__contains__)


def _renamed(
    nodes: Sequence[onnx.NodeProto],
    bound: Mapping[str, str],
    results: Sequence[tuple[str, str]],
    prefix: str,
    is_own: Callable[[str], bool],
) -> list[onnx.NodeProto]:
    """Nodes under names that nothing else has; `results` tells what the values to return are called outside."""
    made = {value for node in nodes for value in node.output}
    names = dict(bound)
    handed_on = []
    for inner, outer in results:
        if inner in made and inner not in names:
            names[inner] = outer
        else:
            handed_on.append((inner, outer))

    def new(value: str) -> str:
        return (
            value if not value else names[value] if value in names else f"{prefix}/{value}" if is_own(value) else value
        )

    identities = [helper.make_node("Identity", [inner], [outer]) for inner, outer in handed_on]
    for identity in identities:
        identity.input[:] = [new(identity.input[0])]
    kept = needed(nodes, [inner for inner, _ in results])
    return [*(_with_names(nodes[index], new, prefix) for index in kept), *identities]


def _with_names(node: onnx.NodeProto, new: Callable[[str], str], prefix: str) -> onnx.NodeProto:
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    renamed.name = f"{prefix}/{node.name or node.op_type}"
    _rename(renamed, new)
    return renamed


def _rename(node: onnx.NodeProto, new: Callable[[str], str]) -> None:
    node.input[:] = [new(value) for value in node.input]
    node.output[:] = [new(value) for value in node.output]
    for graph in _subgraphs(node):
        for inner in graph.node:
            _rename(inner, new)
        for part in (*graph.output, *graph.initializer):
            part.name = new(part.name)


def _with_attributes(node: onnx.NodeProto, actual: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """The node with the call's attributes where it refers to them; what the call leaves out is left out."""
    if not any(attribute.ref_attr_name for attribute in node.attribute) and not _subgraphs(node):
        return node
    resolved = onnx.NodeProto()
    resolved.CopyFrom(node)
    del resolved.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            resolved.attribute.add().CopyFrom(attribute)
        elif attribute.ref_attr_name in actual:
            resolved.attribute.add().CopyFrom(actual[attribute.ref_attr_name])
            resolved.attribute[-1].name = attribute.name
    for graph in _subgraphs(resolved):
        inner = [_with_attributes(part, actual) for part in graph.node]
        del graph.node[:]
        graph.node.extend(inner)
    return resolved


def reads(node: onnx.NodeProto) -> Iterable[str]:
    """The values that a node depends on, those that its subgraphs read included."""
    yield from node.input
    for graph in _subgraphs(node):
        yield from (value.name for value in graph.output)
        for inner in graph.node:
            yield from reads(inner)


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [graph for a in node.attribute for graph in ([a.g] if a.HasField("g") else [*a.graphs])]
