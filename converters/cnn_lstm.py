"""CNN-LSTM and CNN-BiLSTM: a network that sees frames, an LSTM over what it sees in them, and a linear layer.

    cnn.*                                          the frame CNN, in one of two forms
    lstm.weight_ih_l0, lstm.weight_hh_l0, ...      nn.LSTM: of any depth, `_reverse` too where it is bidirectional
    fc.weight, fc.bias                             nn.Linear on the LSTM's output for the last frame

    cnn.0.weight, cnn.1.running_mean, cnn.4...     nn.Sequential of Conv2d(3x3, padding 1), BatchNorm2d, ReLU and
                                                   MaxPool2d(2), once and again; then the mean over height and width
    cnn.conv_stem.weight, cnn.blocks...            timm's EfficientNets without a classifier; `arch` as for those

Such networks have no fixed layers: this is how their state dicts are most plainly written, and others that are named so
are read.  What the Spec says decides what is made of one: with `frames = T` under [input] a network of clips, in which
the LSTM begins anew; else one step, that is shown frame after frame and carries hidden and cell state of each layer on.
A bidirectional LSTM looks ahead, and reads clips alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from edgefer.checkpoint import Weights
from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.ir import Array
from edgefer.networks.families import load_network
from edgefer.networks.network import Network, Source
from edgefer.spec import Spec

FAMILY = "cnn_lstm"

_FIRST = "lstm.weight_ih_l0"
_EPSILON = 1e-5  # of nn.BatchNorm2d
_REMEDY = "converters/cnn_lstm.py says which state dicts are read; export others to ONNX, with their states."


def recognises(source: Source) -> bool:
    """Whether it has an LSTM beside a frame CNN."""
    return source.holds(_FIRST) and (
        source.holds("cnn.0.weight", _FIRST) or source.holds("cnn.conv_stem.weight", _FIRST)
    )


def load(source: Source) -> Network:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, not such a network, or its LSTM looks ahead and the Spec does not say how far.
    """
    checkpoint = source.checkpoint(_FIRST)
    own = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith("cnn.")}
    frame = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("cnn.")}
    layers, hidden, is_bidirectional = _lstm_of(own)
    stated = source.stated.get("input")
    is_clip = isinstance(stated, dict) and stated.get("frames") is not None
    if is_bidirectional and not is_clip:
        raise InputError(
            f"{source.path}: its LSTM is bidirectional, and reads a whole clip before it answers",
            remedy=f"Say how many frames a clip has in {source.sidecar}: frames = 16 under [input].",
        )
    states = [] if is_clip else [_state(what, layer, hidden) for layer in range(layers) for what in ("hidden", "cell")]
    spec = source.read_spec({"states": states} if states else None)
    weights = Weights(source.path, own, _REMEDY)
    build = GraphBuilder(source.name)
    frames = spec.input.frames or 1
    clip = (spec.input.frames,) if spec.input.frames is not None else ()
    image = build.input("image", (1, *clip, 3, *spec.input.size))
    fed = [build.input(state["input"], tuple(state["shape"])) for state in states]
    x = _reshaped(build, "frames", image, (frames, 3, *spec.input.size)) if clip else image
    notes: tuple[str, ...] = ()
    if "cnn.conv_stem.weight" in frame:
        x, notes = _efficientnet(source, spec, build, x)
    else:
        x = _sequential(build, Weights(source.path, frame, _REMEDY), x)
    x = _reshaped(build, "steps", x, (frames, 1, build.shape(x)[1]))
    returned: list[str] = []
    for layer in range(layers):
        state = (fed[2 * layer], fed[2 * layer + 1]) if fed else None
        x, *after = _layer(build, weights, layer, x, hidden, is_bidirectional, state)
        returned += after if fed else []
    last = build.op("Gather", "last", x, build.constant("last.index", np.asarray([frames - 1], np.int64)), axis=0)
    features = _reshaped(build, "features", last, (1, build.shape(x)[2]))
    classifier = weights.take("fc.weight", None, build.shape(features)[1])
    head = build.linear("fc", features, classifier, weights.take("fc.bias", len(classifier)))
    for state, value in zip(states, returned, strict=True):
        build.op("Identity", state["output"], value)
    left = [f"left out of {source.path.name}, as no part of the network: {name}" for name in weights.left_out(FAMILY)]
    graph = build.graph(head, *(state["output"] for state in states))
    return Network(source.name, FAMILY, graph, spec, source, notes=(*checkpoint.notes, *notes, *left))


def _state(what: str, layer: int, hidden: int) -> dict[str, Any]:
    name = what if layer == 0 else f"{what}{layer}"
    return {"name": name, "input": f"{name}_before", "output": f"{name}_after", "shape": [1, 1, hidden]}


def _lstm_of(tensors: Any) -> tuple[int, int, bool]:
    """Layers, hidden size, and whether it is bidirectional."""
    names = [match for name in tensors if (match := re.fullmatch(r"lstm\.weight_ih_l(\d+)(_reverse)?", name))]
    rows = tensors[_FIRST].shape[0]
    return 1 + max(int(match[1]) for match in names), rows // 4, any(match[2] for match in names)


def _layer(
    build: GraphBuilder,
    weights: Weights,
    layer: int,
    x: str,
    hidden: int,
    is_bidirectional: bool,
    states: tuple[str, str] | None,
) -> tuple[str, str, str]:
    """One layer over (steps, 1, in); its outputs (steps, 1, directions * hidden), and its states after the last."""
    size = build.shape(x)[2]
    suffixes = [f"l{layer}", *([f"l{layer}_reverse"] if is_bidirectional else [])]
    parts = [
        np.stack([_onnx_gates(weights.take(f"lstm.{part}_{suffix}", 4 * hidden, *inner)) for suffix in suffixes])
        for part, inner in (("weight_ih", (size,)), ("weight_hh", (hidden,)), ("bias_ih", ()), ("bias_hh", ()))
    ]
    bias = np.concatenate(parts[2:], axis=1)
    whole, *after = build.lstm(f"lstm.{layer}", x, parts[0], parts[1], bias, states)
    steps, directions, _, _ = build.shape(whole)
    turned = build.op("Transpose", f"{whole}.turned", whole, perm=(0, 2, 1, 3))
    return (_reshaped(build, f"{whole}.joined", turned, (steps, 1, directions * hidden)), after[0], after[1])


def _onnx_gates(array: Array) -> Array:
    """PyTorch's gates, input, forget, cell and output, in ONNX's order."""
    into, forget, cell, out = np.split(array, 4)
    return np.concatenate([into, out, forget, cell])


def _reshaped(build: GraphBuilder, name: str, x: str, shape: tuple[int, ...]) -> str:
    return build.op("Reshape", name, x, build.constant(f"{name}.shape", np.asarray(shape, np.int64)))


# --- frame CNNs -------------------------------------------------------------------------------------------


def _efficientnet(source: Source, spec: Spec, build: GraphBuilder, x: str) -> tuple[str, tuple[str, ...]]:
    of_frame = replace(spec.input, frames=None)
    document = Spec(of_frame, spec.outputs).to_dict()
    backbone = load_network(
        source.path,
        family="efficientnet",
        arch=str(source.stated.get("arch", "")),
        spec={"input": document["input"], "outputs": [{"name": "features", "kind": "embedding"}], "states": []},
        weights=source.weights,
    )
    (features,) = build.upon(backbone.graph, x)
    return features, backbone.notes


def _sequential(build: GraphBuilder, weights: Weights, x: str) -> str:
    """Conv2d, BatchNorm2d, ReLU, MaxPool2d, and so on; the mean of what the last returns, (frames, channels)."""
    convs = sorted(int(match[1]) for name in weights.tensors if (match := re.fullmatch(r"cnn\.(\d+)\.weight", name)))
    convs = [index for index in convs if len(weights.tensors[f"cnn.{index}.weight"].shape) == 4]
    for index in convs:
        path = f"cnn.{index}"
        kernels = weights.take(f"{path}.weight", None, build.shape(x)[1], 3, 3)
        bias = weights.take(f"{path}.bias", len(kernels)) if f"{path}.bias" in weights.tensors else None
        x = build.conv(path, x, kernels, bias, padding=1)
        norm = f"cnn.{index + 1}"
        parts = ("weight", "bias", "running_mean", "running_var")
        x = build.batch_norm(
            norm, x, *(weights.take(f"{norm}.{part}", len(kernels)) for part in parts), epsilon=_EPSILON
        )
        x = build.relu(f"{norm}.act", x)
        x = build.op("MaxPool", f"{norm}.pool", x, kernel_shape=(2, 2), strides=(2, 2))
    weights.left_out("its frame CNN")
    return build.flatten("cnn.features", build.global_average_pool("cnn.pool", x))
