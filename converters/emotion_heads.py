"""One network out of a backbone and heads that were trained on its features, each a checkpoint of its own.

This is how frame-level entries to ABAW are published (Savchenko, CVPR workshops from 2022 on): the features of an
EfficientNet, and small networks on them for expressions, valence and arousal, and action units.  A TOML file joins
them:

    backbone = "enet_b0_8_best_vgaf.pt"      # of any family; its own last linear layer is left out
    arch = "tf_efficientnet_b0"              # what the backbone's family wants to know

    [heads]                                  # linear layers, one or in an nn.Sequential, as state dicts
    expression = "expr_1280_128_8.pt"
    valence_arousal = "va.pt"
    action_units = "au.pt"

    [hidden_activation]                      # between layers, which tensors do not show
    expression = "relu"
    action_units = "relu"

Where the TOML says nothing of `input` and `outputs`, they are ABAW's: expressions, action units and their thresholds as
published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefer.checkpoint import Module, Tensor, read_checkpoint
from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.ir import Graph
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.networks.families import load_network
from edgefer.networks.linear_heads import LinearHeads
from edgefer.networks.network import Network, Source
from edgefer.spec import read_toml

FAMILY = "emotion_heads"
INPUT = {
    **{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "crop": {"margin": 0.0, "detector": "RetinaFace"},
}
EXPRESSIONS = ["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other"]
UNITS = {
    **{"AU1": 0.8, "AU2": 0.8, "AU4": 0.7, "AU6": 0.5, "AU7": 0.5, "AU10": 0.5},
    **{"AU12": 0.6, "AU15": 0.8, "AU23": 0.8, "AU24": 0.8, "AU25": 0.3, "AU26": 0.7},
}
"""Which value counts as present."""

OUTPUTS: dict[str, dict[str, Any]] = {
    "expression": {"kind": "expression", "activation": "softmax", "labels": EXPRESSIONS},
    "valence_arousal": {"kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]},
    "action_units": {
        **{"kind": "action_units", "activation": "sigmoid", "labels": [*UNITS], "thresholds": [*UNITS.values()]},
    },
}


def recognises(source: Source) -> bool:
    """Whether it is a TOML file."""
    return source.path.suffix == ".toml"


def load(source: Source) -> Network:
    """Read the files that it names, and join them.

    Raises:
        InputError: one is missing or damaged, or a head does not fit the backbone.
    """
    joined = read_toml(source.path)
    files = joined.get("heads")
    if not isinstance(joined.get("backbone"), str) or not isinstance(files, dict) or not files:
        raise InputError(
            f"{source.path}: names no backbone, or no heads",
            remedy='backbone = "FILE", and under [heads] a line NAME = "FILE" for each head, of files beside it.',
        )
    if "hidden_activation" in files:
        raise InputError(
            f"{source.path}: hidden_activation stands under [heads], as if it were a head",
            remedy='Write it above the first table, hidden_activation = "relu", or by head in a table of its own, '
            '[hidden_activation], as expression = "relu".',
        )
    source = replace(source, spec={**joined, **source.stated})
    known = [{"name": name, **OUTPUTS[name]} for name in files if name in OUTPUTS]
    spec = source.read_spec({"input": INPUT, **({"outputs": known} if len(known) == len(files) else {})})
    backbone = load_network(
        _beside(source, joined["backbone"]),
        arch=str(source.stated.get("arch", "")),
        spec={"input": source.stated.get("input", INPUT), "outputs": [{"name": "features", "kind": "embedding"}]},
    )
    build = GraphBuilder(
        source.name, remove_dead(replace(backbone.graph, outputs=(_features(source, backbone.graph),)))
    )
    heads = _heads(source, files)
    outputs = heads.add_wanted(build, spec, build.outputs[0])
    if left := sorted(heads.weights.left):
        raise InputError(f"{source.path}: no output of the Spec is made of tensor {left[0]}")
    joining = f"joined from {', '.join([joined['backbone'], *map(str, files.values())])}"
    return Network(
        source.name, FAMILY, build.graph(*outputs), spec, source, notes=(joining, *backbone.notes, *heads.notes)
    )


def _features(source: Source, graph: Graph) -> str:
    """What the backbone's own last linear layer reads; what it returns, where there is none."""
    (answer, *others) = graph.outputs
    if others:
        raise InputError(f"{source.path}: the backbone returns {len(graph.outputs)} values: bring it without its heads")
    node = graph.producers[answer]
    return node.inputs[0] if node.op == "Gemm" else answer


def _heads(source: Source, files: Mapping[str, Any]) -> LinearHeads:
    """The heads' layers, each under its head's name."""
    tensors: dict[str, Tensor] = {}
    modules: dict[str, Module] = {}
    for name, file in files.items():
        checkpoint = read_checkpoint(_beside(source, str(file)))
        tensors |= {f"{name}.{key}": tensor for key, tensor in checkpoint.tensors.items()}
        modules |= {f"{name}.{key}" if key else name: module for key, module in checkpoint.modules.items()}
    return LinearHeads(source, tensors, modules)


def _beside(source: Source, file: str) -> Path:
    path = source.path.with_name(file)
    if not path.is_file():
        raise InputError(f"{source.path}: it names {file}, but there is no such file beside it")
    return path
