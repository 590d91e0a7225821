"""Pixels in, meanings out: what every artifact takes and returns.

Wrong normalisation in the app is the commonest deployment bug, so the artifacts normalise inside: they take
uint8 RGB pixels (1, H, W, 3), of a clip (1, T, H, W, 3), and return float32 heads with their activation applied.
What a network carries from step to step they take and return as float32, and zeros are what it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.columns import columns
from edgefer.graph.ir import Array, Graph, Node, TensorInfo, fresh_name, fresh_node_name
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.rewrite import bypass, substitute
from edgefer.spec import INPUT, OutputSpec, Spec

_ACTIVATIONS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "tanh": "Tanh", "none": "Identity"}
_FLOAT = np.dtype(np.float32)
_NETWORK = "network"


def apply_contract(graph: Graph, spec: Spec) -> Graph:
    """Put the Spec's normalisation before the network and its heads' activations behind it.

    Args:
        graph: takes the normalised image, float32 (1, channels, H, W), or clip, (1, T, channels, H, W), then its
            states; returns heads without activation, and its states.
        spec: what they mean.

    Raises:
        InputError: the graph's input or outputs do not fit the Spec.
    """
    _check_input(graph, spec)
    _check_states(graph, spec)
    graph = _with_states(_with_private_names(graph, spec), spec)
    if spec.input.frames is not None:
        graph = _of_frames(graph)
    return _with_heads(_with_preprocessing(graph, spec), spec)


def with_numbered_embeddings(graph: Graph, spec: Spec) -> Spec:
    """The Spec with the columns of embeddings as their labels, where it states none."""

    def numbered(output: OutputSpec) -> OutputSpec:
        if output.labels:
            return output
        start, stop = output.columns or (0, prod(graph.shape(network_output(graph, spec, output))))
        return replace(output, labels=tuple(map(str, range(stop - start))))

    return replace(spec, outputs=tuple(map(numbered, spec.outputs)))


def contract_nodes(graph: Graph) -> frozenset[str]:
    """Names of the nodes that `apply_contract` put before and behind the network."""
    heads = {f"{output}/{part}" for output in graph.outputs for part in ("Slice", "activation")}
    return frozenset(node.name for node in graph.nodes if node.name.startswith("normalise/") or node.name in heads)


def normalisation(graph: Graph) -> tuple[Array, Array]:
    """What `apply_contract` makes of pixels, 0 to 255, before the network reads them: gain @ rgb + shift.

    Args:
        graph: what `apply_contract` returned, whatever passes did to the network in it.

    Returns:
        The gain, float64 (channels, 3), and the shift, float64 (channels,).
    """
    gain, shift = np.eye(3), np.zeros(3)
    for node in graph.nodes:
        if not node.name.startswith("normalise/") or node.op not in ("Conv", "Mul", "Add"):
            continue
        constant = graph.constants[node.inputs[1]].astype(np.float64)
        if node.op == "Conv":
            gain, shift = constant[:, :, 0, 0] @ gain, constant[:, :, 0, 0] @ shift
        elif node.op == "Mul":
            gain, shift = constant[0, :, 0, :1] * gain, constant[0, :, 0, 0] * shift
        else:
            shift = shift + constant[0, :, 0, 0]
    return gain, shift


def head_logits(graph: Graph, spec: Spec) -> dict[str, str]:
    """For each head, the value before its activation, in a graph that `apply_contract` returned."""
    found = {}
    for output in spec.outputs:
        node = graph.producers[output.name]
        found[output.name] = node.inputs[0] if node.name == _activation_name(output.name) else output.name
    return found


def _check_input(graph: Graph, spec: Spec) -> None:
    channels = len(spec.input.planes)
    expected = (1, *([spec.input.frames] if spec.input.frames else []), channels, *spec.input.size)
    if len(graph.inputs) != 1 + len(spec.states):
        beside = f", and {len(spec.states)} that take states" if spec.states else ""
        raise InputError(
            f"the network has {len(graph.inputs)} inputs ({', '.join(graph.inputs)}); edgefer needs one image "
            f"input{beside}",
            remedy="The Spec's [[states]] must name each input that takes one; a family that knows its own needs none."
            if spec.states
            else "Bring a network of one image, or state what it carries on as [[states]] in the Spec.",
        )
    found = graph.info[graph.inputs[0]]
    if found.shape != expected:
        raise InputError(
            f"the network's input {graph.inputs[0]!r} is {list(found.shape)}, but the Spec makes it {list(expected)}",
            remedy=f"Correct input.size in the Spec, or its color, of which {spec.input.color} has {channels} channels."
            if len(found.shape) == len(expected)
            else "A network that reads clips says so in the Spec: frames = 16 under [input]."
            if len(found.shape) > len(expected)
            else "Bring a network of one image.",
        )
    if found.dtype != _FLOAT:
        raise InputError(
            f"the network's input {graph.inputs[0]!r} is {found.dtype}; edgefer needs a normalised float32 image",
            remedy="Export the network without its preprocessing, in float32.",
        )
    if any(output.name == INPUT for output in spec.outputs):
        raise InputError(f"no output can be named {INPUT!r}: the artifacts' input is", remedy="Rename it in the Spec.")


def _check_states(graph: Graph, spec: Spec) -> None:
    for state in spec.states:
        for does, key, name, names in (
            ("takes", "input", state.input, graph.inputs[1:]),
            ("returns", "output", state.output, graph.outputs),
        ):
            if name not in names:
                raise InputError(
                    f"state {state.name!r}: the network {does} no {name!r}, but {', '.join(names)}",
                    remedy=f"Correct its {key} in the Spec's [[states]].",
                )
            found = graph.info[name]
            if found != TensorInfo(state.shape, _FLOAT):
                raise InputError(
                    f"state {state.name!r} is float32 {list(state.shape)} in the Spec, but what the network {does} as "
                    f"{name!r} is {found.dtype} {list(found.shape)}",
                    remedy="Correct its shape in the Spec's [[states]], the batch of one included."
                    if found.dtype == _FLOAT
                    else "Export the network with float32 states.",
                )


def _with_private_names(graph: Graph, spec: Spec) -> Graph:
    """Free the names that the contract needs, where the network uses them for something else."""
    heads = [output.name for output in spec.outputs] + [state.returned for state in spec.states]
    fed = [state.fed for state in spec.states]
    prefixes = tuple(f"{stem}/" for stem in ("normalise", *heads))

    def is_wanted(name: str) -> bool:
        return name in (INPUT, *heads, *fed) or name.startswith(prefixes)

    names = {value: fresh_name(graph, f"{_NETWORK}/{value}") for value in graph.info if is_wanted(value)}
    node_names = {name: fresh_node_name(graph, f"{_NETWORK}/{name}") for name in graph.named if is_wanted(name)}
    return _renamed(graph, names, node_names) if names or node_names else graph


def _renamed(graph: Graph, names: Mapping[str, str], node_names: Mapping[str, str]) -> Graph:
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


def _own(graph: Graph, name: str) -> str:
    """What a value of the network's own is called now."""
    private = f"{_NETWORK}/{name}"
    return private if private in graph.info else name


def _with_states(graph: Graph, spec: Spec) -> Graph:
    """The graph whose inputs and outputs of states are called as artifacts call them, and begin with zeros."""
    if not spec.states:
        return graph
    graph = _renamed(graph, {_own(graph, s.input): s.fed for s in spec.states if not s.initial}, {})
    before, after = [], []
    info: dict[str, TensorInfo] = {}
    constants: dict[str, Array] = {}
    for state in spec.states:
        made = state.fed if state.output == state.input else _own(graph, state.output)
        info |= dict.fromkeys((state.fed, state.returned), TensorInfo(state.shape, _FLOAT))
        if state.initial:
            initial = f"{state.fed}/initial"
            constants[initial] = state.before_first()
            before.append(Node(f"{state.fed}/Add", "Add", (state.fed, initial), (_own(graph, state.input),)))
            after.append(Node(_activation_name(state.returned), "Sub", (made, initial), (state.returned,)))
        else:
            after.append(Node(_activation_name(state.returned), "Identity", (made,), (state.returned,)))
    graph = graph.with_constants(constants).with_nodes((*before, *graph.nodes, *after), info)
    return replace(graph, inputs=(graph.inputs[0], *(state.fed for state in spec.states)))


def _of_frames(graph: Graph) -> Graph:
    """The graph of a network that takes (1, T, channels, H, W), taking (T, channels, H, W)."""
    clip, *states = graph.inputs
    _, frames, *image = graph.shape(clip)
    reader = graph.sole_consumer(clip)
    if reader is not None and reader.op == "Reshape" and graph.shape(reader.output) == (frames, *image):
        nodes = [node for node in graph.nodes if node is not reader]
        return remove_dead(replace(graph, nodes=tuple(nodes), inputs=(reader.output, *states)))
    value, shape = (fresh_name(graph, f"{_NETWORK}/{part}") for part in ("frames", "clip"))
    node = Node(fresh_node_name(graph, f"{_NETWORK}/Reshape"), "Reshape", (value, shape), (clip,))
    graph = graph.with_constants({shape: np.asarray((1, frames, *image), np.int64)})
    graph = graph.with_nodes((node, *graph.nodes), {value: TensorInfo((frames, *image), _FLOAT)})
    return replace(graph, inputs=(value, *states))


def _row(channels: Array, width: int) -> Array:
    """A constant per channel, repeated along a row: kernels then broadcast over rows, and not over pixels."""
    return np.tile(channels.astype(np.float32).reshape(1, -1, 1, 1), (1, 1, 1, width))


def _with_preprocessing(graph: Graph, spec: Spec) -> Graph:
    """Channels as the network has them: factors * (planes @ rgb + shift).

    Convolutions that read them take `factors` and `planes` into their weights, so that only a shift of the pixels is
    left to do; before anything else all of it is done.
    """
    height, width = spec.input.size
    batch = spec.input.frames or 1
    mean, std, planes = (np.asarray(v, np.float64) for v in (spec.input.mean, spec.input.std, spec.input.planes))
    graph, planes, factors, shift = _absorbed(graph, planes, 1 / (255 * std), -255 * mean)
    pixels, channels = (TensorInfo((batch, count, height, width), _FLOAT) for count in (3, len(planes)))
    frame = TensorInfo((batch, height, width, 3), np.dtype(np.uint8))
    info = {INPUT: frame, "normalise/float": replace(frame, dtype=_FLOAT), "normalise/planes": pixels}
    nodes = [
        Node("normalise/Cast", "Cast", (INPUT,), ("normalise/float",), {"to": 1}),
        Node("normalise/Transpose", "Transpose", ("normalise/float",), ("normalise/planes",), {"perm": (0, 3, 1, 2)}),
    ]
    constants: dict[str, Array] = {}
    if spec.input.frames is not None:
        info |= {INPUT: replace(frame, shape=(1, *frame.shape)), "normalise/frames": frame}
        constants["normalise/shape"] = np.asarray(frame.shape, np.int64)
        reshape = Node("normalise/Reshape", "Reshape", (INPUT, "normalise/shape"), ("normalise/frames",))
        nodes[0] = replace(nodes[0], inputs=reshape.outputs)
        nodes.insert(0, reshape)

    def then(op: str, constant: str, array: Array, output: str) -> None:
        constants[f"normalise/{constant}"] = array
        nodes.append(Node(f"normalise/{op}", op, (nodes[-1].output, f"normalise/{constant}"), (output,)))
        info[output] = channels

    is_turned = np.array_equal(planes.T @ planes, np.eye(3))
    of_pixels = planes.T @ shift if is_turned else np.full(3, shift[0] / planes[0].sum())
    if _only_plain_convolutions_read(graph) and np.allclose(planes @ of_pixels, shift, 1e-9, 1e-9):
        graph = _reading_pixels(graph, factors[:, np.newaxis] * planes)
        shift, channels = of_pixels, pixels
    else:
        if not np.array_equal(planes, np.eye(3)):
            then("Conv", "weights", _exact(planes)[:, :, np.newaxis, np.newaxis], "normalise/channels")
        if np.any(factors != 1):
            then("Mul", "scale", _row(factors, width), "normalise/scaled")
            shift = factors * shift
    if np.any(shift != 0):
        then("Add", "shift", _row(shift, width), "normalise/shifted")
    nodes[-1] = replace(nodes[-1], outputs=graph.inputs[:1])
    graph = graph.with_constants(constants).with_nodes((*nodes, *graph.nodes), info)
    return replace(graph, inputs=(INPUT, *graph.inputs[1:]))


def _exact(planes: Array) -> Array:
    """Weights in units of 2^-16, as Pillow has them: sums of pixels are exact in float32, in every runtime's order."""
    exact: Array = (np.rint(planes * 65536) / 65536).astype(np.float32)
    return exact


def _absorbed(graph: Graph, planes: Array, factors: Array, shift: Array) -> tuple[Graph, Array, Array, Array]:
    """The graph without what it begins with, where that joins factors * (planes @ rgb + shift).

    That is arithmetic by channel, and channels that are put in another order or repeated.
    """
    image = graph.inputs[0]
    while (node := graph.sole_consumer(image)) is not None and not node.activation:
        shorter = bypass(graph, node, image)
        if shorter is graph:
            break
        if (order := _order(graph, node, image)) is not None:
            planes, factors, shift = planes[order], factors[order], shift[order]
            graph = replace(shorter, info={**graph.info, image: graph.info[node.output]})
        elif (found := _affine(graph, node, image, len(factors))) is not None:
            gain, bias = found
            graph, factors, shift = shorter, factors * gain, shift + bias / (factors * gain)
        else:
            break
    return graph, planes, factors, shift


def _order(graph: Graph, node: Node, image: str) -> Array | None:
    """Which of the image's channels each channel of a node's output is; None of nodes that do something else."""
    before, after = graph.shape(image), graph.shape(node.output)
    if len(after) != 4 or (before[0], *before[2:]) != (after[0], *after[2:]):
        return None
    channels = np.arange(before[1])
    if node.op == "Concat" and set(node.inputs) == {image}:
        return np.tile(channels, len(node.inputs))
    if node.op == "Expand":
        return channels if before == after else np.zeros(after[1], np.int64)
    if node.op == "Gather" and node.int("axis") % 4 == 1 and graph.is_constant(node.inputs[1]):
        order: Array = channels[graph.constants[node.inputs[1]]]
        return order
    return None


def _affine(graph: Graph, node: Node, image: str, channels: int) -> tuple[Array, Array] | None:
    """Gain and bias of a node that only scales and shifts the image's channels, float64 (channels,); None of others."""
    operands = [value for value in node.inputs if value != image]
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(operands) != 1 or not graph.is_constant(operands[0]):
        return None
    array = graph.constants[operands[0]].astype(np.float64)
    if array.size not in (1, channels) or array.shape[-3:] not in {(), (1,), (1, 1), (array.size, 1, 1)}:
        return None
    constant, one, is_first = np.broadcast_to(array.reshape(-1), channels), np.ones(channels), node.inputs[0] == image
    if node.op == "Add":
        return one, constant
    if node.op == "Sub":
        return (one, -constant) if is_first else (-one, constant)
    if not np.all(constant) or (node.op == "Div" and not is_first):
        return None
    return (constant if node.op == "Mul" else 1 / constant), np.zeros(channels)


def _only_plain_convolutions_read(graph: Graph) -> bool:
    """Whether all that reads the image is convolutions of all its channels with weights that are known."""
    return all(
        node.op == "Conv" and node.int("group", 1) == 1 and graph.is_constant(node.input(1))
        for node in graph.consumers.get(graph.inputs[0], ())
    )


def _reading_pixels(graph: Graph, channels: Array) -> Graph:
    """A graph whose first convolutions read RGB planes, and make `channels` (channels, 3) of them by their weights."""
    for node in graph.consumers.get(graph.inputs[0], ()):
        name = node.inputs[1]
        shared = len(graph.consumers[name]) > 1
        for_pixels = fresh_name(graph, f"{name}/pixels") if shared else name
        weights = np.einsum("ocyx,cp->opyx", graph.constants[name], channels)
        reading = replace(node, inputs=(node.inputs[0], for_pixels, *node.inputs[2:]))
        graph = substitute(graph, {node.name: [reading]}, {for_pixels: np.ascontiguousarray(weights, np.float32)})
    batch, _, *sides = graph.shape(graph.inputs[0])
    pixels = TensorInfo((batch, 3, *sides), _FLOAT)
    return replace(graph, info={**graph.info, graph.inputs[0]: pixels})


def _with_heads(graph: Graph, spec: Spec) -> Graph:
    for output in spec.outputs:
        graph = _with_head(graph, spec, output)
    heads, states = (output.name for output in spec.outputs), (state.returned for state in spec.states)
    return remove_dead(replace(graph, outputs=(*heads, *states)))


def _with_head(graph: Graph, spec: Spec, output: OutputSpec) -> Graph:
    graph, source = _as_row(graph, network_output(graph, spec, output), output.name)
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
            _activation_name(output.name),
            activation,
            (value,),
            (output.name,),
            {"axis": -1} if activation == "Softmax" else {},
        )
    )
    info = {value: shape, output.name: shape}
    return graph.with_constants(constants).with_nodes((*graph.nodes, *nodes), info)


def _as_row(graph: Graph, source: str, head: str) -> tuple[Graph, str]:
    """A network's output as (1, columns), where only one of its axes is not 1; an activation of its own stays the last.

    Others are handed back as they are.
    """
    shape = graph.shape(source)
    columns = prod(shape)
    if columns != max(shape, default=1) or shape == (1, columns):
        return graph, source
    own = graph.producers.get(source)
    is_own = own is not None and own.op in _ACTIVATIONS.values() and _is_along_columns(own, shape)
    before = own.inputs[0] if own is not None and is_own else source
    row, wanted = fresh_name(graph, f"{head}/row"), fresh_name(graph, f"{head}/shape")
    nodes, info = (
        [Node(fresh_node_name(graph, f"{head}/Reshape"), "Reshape", (before, wanted), (row,))],
        TensorInfo((1, columns), _FLOAT),
    )
    values = {row: info}
    if own is not None and is_own:
        activated = fresh_name(graph, f"{head}/activated")
        attributes = {"axis": -1} if own.op == "Softmax" else {}
        nodes.append(Node(fresh_node_name(graph, f"{head}/{own.op}"), own.op, (row,), (activated,), attributes))
        values[activated], row = info, activated
    graph = graph.with_constants({wanted: np.asarray((1, columns), np.int64)})
    return graph.with_nodes((*graph.nodes, *nodes), values), row


def _is_along_columns(activation: Node, shape: tuple[int, ...]) -> bool:
    """Whether an activation that gives `shape`, of which one axis is not 1, is by number, or along that axis."""
    return activation.op != "Softmax" or shape[activation.int("axis", -1)] == prod(shape)


def network_output(graph: Graph, spec: Spec, output: OutputSpec) -> str:
    """The value that the network itself returns for a head of its Spec.

    Raises:
        InputError: the Spec does not say which.
    """
    carried = {_own(graph, state.output) for state in spec.states}
    heads = [name for name in graph.outputs if name not in carried]
    if not output.tensor and len(heads) == 1:
        return heads[0]
    wanted = output.tensor or output.name
    for name in (f"{_NETWORK}/{wanted}", wanted):
        if name in graph.outputs:
            return name
    returned = [name.removeprefix(f"{_NETWORK}/") for name in heads]
    raise InputError(
        f"the network returns no {wanted!r}, but {', '.join(returned)}",
        remedy=f'Say which one holds output {output.name!r}: tensor = "{returned[0]}" in its [[outputs]] table.',
    )


def _activation_name(output: str) -> str:
    return f"{output}/activation"
