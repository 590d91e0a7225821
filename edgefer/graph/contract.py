"""Pixels in, meanings out: what every artifact takes and returns.

Wrong normalisation in the app is the commonest deployment bug, so the artifacts normalise inside: they take
uint8 RGB pixels (1, H, W, 3) and return float32 heads with their activation applied.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.columns import columns
from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name, fresh_node_name
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.rewrite import substitute
from edgefer.spec import OutputSpec, Spec

INPUT = "image"
"""Name of the artifacts' input."""

_ACTIVATIONS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "tanh": "Tanh", "none": "Identity"}
_FLOAT = np.dtype(np.float32)
_NETWORK = "network"


def apply_contract(graph: Graph, spec: Spec) -> Graph:
    """Put the Spec's normalisation before the network and its heads' activations behind it.

    Args:
        graph: takes the normalised image, float32 (1, 3, H, W); returns heads without activation.
        spec: what they mean.

    Raises:
        InputError: the graph's input or outputs do not fit the Spec.
    """
    _check_input(graph, spec)
    return _with_heads(_with_preprocessing(_with_private_names(graph, spec), spec), spec)


def contract_nodes(graph: Graph) -> frozenset[str]:
    """Names of the nodes that `apply_contract` put before and behind the network."""
    heads = {f"{output}/{part}" for output in graph.outputs for part in ("Slice", "activation")}
    return frozenset(node.name for node in graph.nodes if node.name.startswith("normalise/") or node.name in heads)


def head_logits(graph: Graph, spec: Spec) -> dict[str, str]:
    """For each head, the value before its activation, in a graph that `apply_contract` returned."""
    found = {}
    for output in spec.outputs:
        node = graph.producers[output.name]
        found[output.name] = node.inputs[0] if node.name == _activation_name(output) else output.name
    return found


def _check_input(graph: Graph, spec: Spec) -> None:
    expected = (1, 3, *spec.input.size)
    if len(graph.inputs) != 1:
        raise InputError(
            f"the network has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}); edgefer needs one image input"
        )
    found = graph.info[graph.inputs[0]]
    if found.shape != expected:
        raise InputError(
            f"the network's input {graph.inputs[0]!r} is {list(found.shape)}, but the Spec makes it {list(expected)}",
            remedy="Correct input.size in the Spec, or export with NCHW layout and three channels.",
        )
    if found.dtype != _FLOAT:
        raise InputError(
            f"the network's input {graph.inputs[0]!r} is {found.dtype}; edgefer needs a normalised float32 image",
            remedy="Export the network without its preprocessing, in float32.",
        )
    if any(output.name == INPUT for output in spec.outputs):
        raise InputError(f"no output can be named {INPUT!r}: the artifacts' input is", remedy="Rename it in the Spec.")


def _with_private_names(graph: Graph, spec: Spec) -> Graph:
    """Free the names that the contract needs, where the network uses them for something else."""
    heads = [output.name for output in spec.outputs]
    prefixes = tuple(f"{stem}/" for stem in ("normalise", *heads))

    def is_wanted(name: str) -> bool:
        return name in (INPUT, *heads) or name.startswith(prefixes)

    names = {value: fresh_name(graph, f"{_NETWORK}/{value}") for value in graph.info if is_wanted(value)}
    node_names = {name: fresh_node_name(graph, f"{_NETWORK}/{name}") for name in graph.named if is_wanted(name)}
    if not names and not node_names:
        return graph

    def new(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(value, value) for value in values)

    return Graph(
        graph.name,
        tuple(
            replace(
                node,
                name=node_names.get(node.name, node.name),
                inputs=new(node.inputs),
                outputs=new(node.outputs),
            )
            for node in graph.nodes
        ),
        new(graph.inputs),
        new(graph.outputs),
        {names.get(name, name): array for name, array in graph.constants.items()},
        {names.get(name, name): entry for name, entry in graph.info.items()},
    )


def _row(channels: Array, width: int) -> Array:
    """A constant per channel, repeated along a row: kernels then broadcast over rows, and not over 3-channel pixels."""
    return np.tile(channels.astype(np.float32).reshape(1, 3, 1, 1), (1, 1, 1, width))


def _with_preprocessing(graph: Graph, spec: Spec) -> Graph:
    """Pixels less the mean; convolutions that read them take what is left of the normalisation into their weights."""
    height, width = spec.input.size
    mean, std = (np.asarray(values, np.float64) for values in (spec.input.mean, spec.input.std))
    bgr = spec.input.color == "BGR"
    nchw = TensorInfo((1, 3, height, width), _FLOAT)
    info = {
        INPUT: TensorInfo((1, height, width, 3), np.dtype(np.uint8)),
        "normalise/float": TensorInfo((1, height, width, 3), _FLOAT),
        "normalise/planes": nchw,
    }
    nodes = [
        Node("normalise/Cast", "Cast", (INPUT,), ("normalise/float",), {"to": 1}),
        Node("normalise/Transpose", "Transpose", ("normalise/float",), ("normalise/planes",), {"perm": (0, 3, 1, 2)}),
    ]
    value, constants = "normalise/planes", {"normalise/shift": _row(-255 * mean[:: -1 if bgr else 1], width)}
    other = _reader_but_plain_convolutions(graph)
    if other is None:
        graph = _reading_pixels(graph, 1 / (255 * std), bgr)
    elif bgr:
        raise InputError(
            f"node {other.name!r} ({other.op}) reads the image: BGR networks must begin with a convolution",
            remedy='Export the network with RGB input and state color = "RGB".',
        )
    else:
        constants = {"normalise/scale": _row(1 / (255 * std), width), "normalise/shift": _row(-mean / std, width)}
        nodes.append(Node("normalise/Mul", "Mul", (value, "normalise/scale"), ("normalise/scaled",)))
        value, info["normalise/scaled"] = "normalise/scaled", nchw
    nodes.append(Node("normalise/Add", "Add", (value, "normalise/shift"), graph.inputs))
    return replace(graph.with_constants(constants).with_nodes((*nodes, *graph.nodes), info), inputs=(INPUT,))


def _reader_but_plain_convolutions(graph: Graph) -> Node | None:
    """A node that reads the image and is no convolution of all its channels with weights that are known."""
    for node in graph.consumers.get(graph.inputs[0], ()):
        if node.op != "Conv" or node.int("group", 1) != 1 or not graph.is_constant(node.input(1)):
            return node
    return None


def _reading_pixels(graph: Graph, factors: Array, bgr: bool) -> Graph:
    """A graph whose first convolutions multiply their inputs, RGB planes now, with these `factors`.

    Where they read BGR planes, and have factors in that order, they take them in the other order.
    """
    for node in graph.consumers.get(graph.inputs[0], ()):
        name = node.inputs[1]
        shared = len(graph.consumers[name]) > 1
        for_pixels = fresh_name(graph, f"{name}/pixels") if shared else name
        weights = graph.constants[name] * factors.reshape(1, 3, 1, 1)
        ordered = np.ascontiguousarray(weights[:, ::-1] if bgr else weights, np.float32)
        reading = replace(node, inputs=(node.inputs[0], for_pixels, *node.inputs[2:]))
        graph = substitute(graph, {node.name: [reading]}, {for_pixels: ordered})
    return graph


def _with_heads(graph: Graph, spec: Spec) -> Graph:
    for output in spec.outputs:
        graph = _with_head(graph, output)
    return remove_dead(replace(graph, outputs=tuple(output.name for output in spec.outputs)))


def _with_head(graph: Graph, output: OutputSpec) -> Graph:
    source = _network_output(graph, output)
    width = graph.shape(source)[-1] if len(graph.shape(source)) == 2 else 0
    start, stop = output.columns or (0, width)
    if stop > width or stop - start != len(output.labels):
        raise InputError(
            f"output {output.name!r} has {len(output.labels)} labels, but {source!r} is {list(graph.shape(source))}",
            remedy="Give one label per column, in the order of training; `columns = [first, past_last]` selects some.",
        )
    shape = TensorInfo((1, stop - start), _FLOAT)
    nodes = []
    constants: dict[str, Array] = {}
    activation = _ACTIVATIONS[output.activation]
    apart = columns(graph, source, start, stop)
    if apart is not None:
        graph, value = apart
    else:
        bounds = {"starts": start, "ends": stop, "axes": 1}
        constants = {f"{output.name}/{key}": np.asarray([number], np.int64) for key, number in bounds.items()}
        value = f"{output.name}/columns"
        nodes.append(Node(f"{output.name}/Slice", "Slice", (source, *constants), (value,)))
    own = graph.producers.get(source if apart is None else value)
    if own is not None and own.op in _ACTIVATIONS.values() and activation in (own.op, "Identity"):
        if apart is not None:
            activation = own.op  # the head's activation is the network's own
            graph, value = columns(graph, own.inputs[0], 0, stop - start) or (graph, own.inputs[0])
        elif activation == own.op:
            raise InputError(
                f"output {output.name!r}: the network itself ends in {own.op}, and the Spec would apply it again",
                remedy='Export the network without it, or state activation = "none".',
            )
    nodes.append(
        Node(
            _activation_name(output),
            activation,
            (value,),
            (output.name,),
            {"axis": -1} if activation == "Softmax" else {},
        )
    )
    info = {value: shape, output.name: shape}
    return graph.with_constants(constants).with_nodes((*graph.nodes, *nodes), info)


def _network_output(graph: Graph, output: OutputSpec) -> str:
    if not output.tensor and len(graph.outputs) == 1:
        return graph.outputs[0]
    wanted = output.tensor or output.name
    for name in (f"{_NETWORK}/{wanted}", wanted):
        if name in graph.outputs:
            return name
    returned = [name.removeprefix(f"{_NETWORK}/") for name in graph.outputs]
    raise InputError(
        f"the network returns no {wanted!r}, but {', '.join(returned)}",
        remedy=f'Say which one holds output {output.name!r}: tensor = "{returned[0]}" in its [[outputs]] table.',
    )


def _activation_name(output: OutputSpec) -> str:
    return f"{output.name}/activation"
