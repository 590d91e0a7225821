"""Wrappers of several heads around an EfficientNet, and EfficientNets without any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from tests.checkpoint.torch_files import Stored, floats, module, save
from tests.converters.checkpoints import SPEC, as_old_timm_module, bundled_tensors, run, stored

FEATURES = 1280
HEADS = {
    "expr_head.weight": floats(8, FEATURES, seed=1),
    "expr_head.bias": floats(8, seed=2),
    "va_head.0.weight": floats(16, FEATURES, seed=3),
    "va_head.0.bias": floats(16, seed=4),
    "va_head.3.weight": floats(2, 16, seed=5),
    "va_head.3.bias": floats(2, seed=6),
}
EXPRESSION = {
    "name": "expression",
    "tensor": "expr_head",
    "kind": "classes",
    "activation": "softmax",
    "labels": [*"abcdefgh"],
}
VALENCE = {"name": "va_head", "kind": "valence_arousal", "activation": "tanh", "labels": ["valence", "arousal"]}
EMBEDDING = {"name": "features", "kind": "embedding"}


@pytest.fixture(scope="module")
def backbone() -> dict[str, Any]:
    return {name: array for name, array in bundled_tensors().items() if not name.startswith("classifier.")}


def wrapped(folder: Path, backbone: dict[str, Any], heads: dict[str, Any], prefix: str = "backbone.") -> Path:
    content = {f"{prefix}{name}": tensor for name, tensor in stored(backbone).items()}
    return save(folder / "x.pt", {"state_dict": {**content, **stored(heads)}, "arch": "efficientnet_b0"})


def load(path: Path, *outputs: dict[str, Any], **stated: Any) -> Network:
    return load_network(path, family="efficientnet", spec={**SPEC, "outputs": [*outputs], **stated})


def features_of(folder: Path, backbone: dict[str, Any], image: Any) -> Any:
    path = save(folder / "backbone.pt", stored(backbone))
    return run(load_network(path, arch="efficientnet_b0", spec={**SPEC, "outputs": [EMBEDDING]}).graph, image)


def test_an_efficientnet_without_a_classifier_is_an_embedding(tmp_path: Path, backbone: dict[str, Any]) -> None:
    path = wrapped(tmp_path, backbone, {}, "")
    network = load(path, EMBEDDING)
    assert network.graph.shape(network.graph.outputs[0]) == (1, FEATURES)
    assert len(network.spec.outputs[0].labels) == FEATURES
    with pytest.raises(InputError, match=r"it has no classifier: what it returns are 1280 features") as caught:
        load(path, VALENCE)
    assert 'kind = "embedding"' in caught.value.remedy


@pytest.mark.parametrize("hidden", ["relu", {"va_head": "relu"}])
def test_heads_of_a_wrapper_are_layers_on_pooled_features(
    tmp_path: Path, backbone: dict[str, Any], hidden: Any
) -> None:
    network = load(wrapped(tmp_path, backbone, HEADS), EXPRESSION, VALENCE, hidden_activation=hidden)
    image = floats(1, 3, 64, 64)
    x = features_of(tmp_path, backbone, image)
    inner = np.maximum(x @ HEADS["va_head.0.weight"].T + HEADS["va_head.0.bias"], 0)
    expected = {
        "expr_head": x @ HEADS["expr_head.weight"].T + HEADS["expr_head.bias"],
        "va_head": inner @ HEADS["va_head.3.weight"].T + HEADS["va_head.3.bias"],
    }
    assert network.graph.outputs == ("expr_head", "va_head")
    for name, value in expected.items():
        np.testing.assert_allclose(run(network.graph, image, name), value, rtol=1e-3, atol=1e-3)
    assert network.notes == ("expr_head, va_head: read as linear layers on the backbone's 1280 pooled features",)


def test_what_stands_between_layers_is_asked_for(tmp_path: Path, backbone: dict[str, Any]) -> None:
    path = wrapped(tmp_path, backbone, HEADS)
    with pytest.raises(InputError, match=r"head va_head: tensors do not show what stands between") as caught:
        load(path, VALENCE)
    assert 'x.spec.toml, first line: hidden_activation = "relu"' in caught.value.remedy
    with pytest.raises(InputError, match=r"hidden_activation is 'swish'") as caught:
        load(path, VALENCE, hidden_activation="swish")
    assert "silu" in caught.value.remedy


def test_heads_that_the_spec_does_not_name_are_left_out_and_named(tmp_path: Path, backbone: dict[str, Any]) -> None:
    network = load(wrapped(tmp_path, backbone, {**HEADS, "loss.weight": floats(8, FEATURES)}), EXPRESSION)
    assert network.graph.outputs == ("expr_head",)
    assert "no part of the network: loss.weight, va_head.0.bias, va_head.0.weight and 2 more" in network.notes[-1]


def test_a_spec_that_names_no_head_is_told_which_there_are(tmp_path: Path, backbone: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expr_head \(8 columns\), va_head \(2 columns\)") as caught:
        load(wrapped(tmp_path, backbone, HEADS), *SPEC["outputs"])
    assert 'tensor = "expr_head"' in caught.value.remedy


def test_the_only_head_needs_no_name(tmp_path: Path, backbone: dict[str, Any]) -> None:
    head = {"fc.1.weight": floats(7, FEATURES), "fc.1.bias": floats(7)}
    network = load(wrapped(tmp_path, backbone, head, "module.net."), *SPEC["outputs"])
    assert network.graph.outputs == ("fc",)
    assert network.notes[1] == "what stands before fc.1 is taken as dropout, which does nothing here"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (floats(8, 512), r"tensor expr_head\.weight has shape \[8, 512\] instead of \[any, 1280\]"),
        (floats(8), "names one of its heads"),
    ],
)
def test_a_head_that_does_not_fit_is_named(tmp_path: Path, backbone: dict[str, Any], tensor: Any, message: str) -> None:
    heads = {"expr_head.weight": tensor, "au_head.weight": floats(12, FEATURES), "va.weight": floats(2, FEATURES)}
    with pytest.raises(InputError, match=message):
        load(wrapped(tmp_path, backbone, heads), EXPRESSION)


def test_layers_side_by_side_are_heads_of_their_own(tmp_path: Path, backbone: dict[str, Any]) -> None:
    heads = {"heads.0.weight": floats(8, FEATURES), "heads.1.weight": floats(2, FEATURES)}
    outputs = {**EXPRESSION, "tensor": "heads.0"}, {**VALENCE, "tensor": "heads.1"}
    assert load(wrapped(tmp_path, backbone, heads), *outputs).graph.outputs == ("heads.0", "heads.1")


def test_a_pickled_wrapper_says_what_stands_between_its_layers(tmp_path: Path, backbone: dict[str, Any]) -> None:
    def linear(name: str) -> Any:
        parts = {part: Stored(HEADS[f"{name}.{part}"]) for part in ("weight", "bias")}
        return module("torch.nn.modules.linear.Linear", parts)

    def wrapper(between: str) -> Any:
        layers = {
            "0": linear("va_head.0"),
            "1": module(f"torch.nn.modules.activation.{between}"),
            "2": module("torch.nn.modules.dropout.Dropout", p=0.3),
            "3": linear("va_head.3"),
            "4": module("torch.nn.modules.activation.Tanh"),
        }
        head = module("torch.nn.modules.container.Sequential", children=layers)
        net = as_old_timm_module({**backbone, "classifier.weight": floats(7, FEATURES)}, same=False, eps=1e-5)
        net.state["_modules"]["classifier"] = module("torch.nn.modules.linear.Identity")
        return module("my.Net", children={"backbone": net, "va_head": head})

    network = load(save(tmp_path / "x.pt", wrapper("SiLU")), {**VALENCE, "activation": "none"})
    assert [node.op for node in network.graph.nodes[-5:]] == ["Gemm", "Sigmoid", "Mul", "Gemm", "Tanh"]
    with pytest.raises(InputError, match=r"module va_head\.1 \(Softplus\) is of a kind"):
        load(save(tmp_path / "x.pt", wrapper("Softplus")), VALENCE)
