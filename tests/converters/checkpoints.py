"""Checkpoints to convert, made from the bundled network's tensors as other tools would have saved them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from edgefer.checkpoint import read_checkpoint
from edgefer.graph.ir import Array, Graph
from edgefer.graph.onnx_io import to_onnx
from edgefer.host.resources import bundled_networks
from tests.checkpoint.torch_files import Name, New, Stored, module

SHARED = Path(__file__).parents[3] / "shared"
LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
SPEC: dict[str, Any] = {
    "input": {"size": [64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "outputs": [{"name": "expression", "kind": "expression", "activation": "softmax", "labels": LABELS}],
}


def bundled_tensors() -> dict[str, Array]:
    """Weights of the bundled EfficientNet-B0, by timm's names."""
    tensors = read_checkpoint(bundled_networks()["fer_b0"]).tensors
    return {name: tensor.array().astype(np.float32) for name, tensor in tensors.items()}


def stored(tensors: dict[str, Array]) -> dict[str, Stored]:
    """As a state dict to save."""
    return {name: Stored(array) for name, array in tensors.items()}


def run(graph: Graph, image: Array, name: str | None = None) -> Array:
    """An output of a float graph, by default the first."""
    session = ort.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    output: Array = session.run([name or graph.outputs[0]], {graph.inputs[0]: image})[0]
    return output


def assert_equal(left: Graph, right: Graph) -> None:
    """Same nodes, same shapes, same constants."""
    assert left.nodes == right.nodes
    assert dict(left.info) == dict(right.info)
    assert left.constants.keys() == right.constants.keys()
    for name, array in left.constants.items():
        np.testing.assert_array_equal(array, right.constants[name], name)


def as_old_timm_module(tensors: dict[str, Array], *, same: bool, eps: float) -> New:
    """The whole network, pickled by a timm that had activations beside batch norms, not in them."""
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = array
    tree["classifier"] = {"0": tree["classifier"]}  # the Sequential of one layer that HSEmotion puts there
    net = _as_module("", tree, same, eps)
    net.state["_modules"]["act1"] = module("timm.models.layers.activations.Swish")
    net.state["_modules"]["act2"] = module("torch.nn.modules.activation.SiLU", inplace=True)
    net.state["_modules"]["global_pool"] = module(
        "timm.models.layers.adaptive_avgmax_pool.SelectAdaptivePool2d", pool_type="avg"
    )
    return net


def _as_module(path: str, tree: dict[str, Any], same: bool, eps: float) -> New:
    tensors = {name: Stored(value) for name, value in tree.items() if not isinstance(value, dict)}
    children = {
        name: _as_module(f"{path}.{name}".lstrip("."), value, same, eps)
        for name, value in tree.items()
        if isinstance(value, dict)
    }
    leaf = path.rpartition(".")[2]
    if leaf.startswith("conv_"):
        return _conv(path, tensors, same)
    if leaf.startswith("bn"):
        return module("torch.nn.modules.batchnorm.BatchNorm2d", tensors, eps=eps)
    if leaf == "se":
        children["act1"] = module("torch.nn.modules.activation.SiLU")
        return module(
            "timm.models.efficientnet_blocks.SqueezeExcite", {}, children, gate_fn=Name("timm.models.layers.sigmoid")
        )
    if re.fullmatch(r"blocks\.\d+\.\d+", path):
        acts = {"act1": "SiLU", "act2": "SiLU" if "conv_pwl" in tree else "Identity"}
        children |= {name: module(f"torch.nn.modules.activation.{kind}") for name, kind in acts.items()}
        return module("timm.models.efficientnet_blocks.InvertedResidual", {}, children)
    if path == "classifier.0":
        return module("torch.nn.modules.linear.Linear", tensors)
    kind = "torch.nn.modules.container.Sequential" if path else "timm.models.efficientnet.EfficientNet"
    return module(kind, tensors, children)


def _conv(path: str, tensors: dict[str, Stored], same: bool) -> New:
    kernel = tensors["weight"].array.shape[2]
    strided = path == "conv_stem" or re.fullmatch(r"blocks\.[1235]\.0\.conv_dw", path)
    if strided and same:
        return module("timm.models.layers.conv2d_same.Conv2dSame", tensors, stride=(2, 2), padding=(0, 0))
    side = 2 if strided else 1
    return module(
        "torch.nn.modules.conv.Conv2d",
        tensors,
        stride=(side, side),
        padding=(kernel // 2, kernel // 2),
        dilation=(1, 1),
        padding_mode="zeros",
    )


def as_tensorflow_named(tensors: dict[str, Array]) -> dict[str, Array]:
    """With the names of efficientnet-lite-pytorch."""
    blocks = list(dict.fromkeys(match[0] for name in tensors if (match := re.match(r"blocks\.\d+\.\d+", name))))
    renamed = {}
    for name, array in tensors.items():
        layer, leaf = name.rsplit(".", 1)
        block = re.match(r"(blocks\.\d+\.\d+)\.(.+)", layer)
        if block is None:
            outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            renamed[f"{outer.get(layer, '_fc')}.{leaf}"] = array
            continue
        expands = f"{block[1]}.conv_pwl.weight" in tensors
        inner = {"conv_dw": "_depthwise_conv", "se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
        inner |= (
            {"conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
            if expands
            else {"bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
        )
        renamed[f"_blocks.{blocks.index(block[1])}.{inner[block[2]]}.{leaf}"] = array
    return renamed
