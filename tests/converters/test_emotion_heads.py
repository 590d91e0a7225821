"""Heads of ABAW, trained on a backbone's features, join it in one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.networks.families import load_network
from tests.checkpoint.torch_files import Stored, floats, module, save
from tests.converters.checkpoints import SPEC, bundled_tensors, run, stored

FEATURES = 1280
JOINED = """
backbone = "b0.pt"
arch = "efficientnet_b0"

[heads]
expression = "expr.pt"
valence_arousal = "va.pt"
action_units = "au.pt"

[hidden_activation]
expression = "relu"

[input]
size = [64, 64]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""
EXPRESSION = {
    "0.weight": floats(16, FEATURES, seed=1) / 30,
    "0.bias": floats(16, seed=2),
    "3.weight": floats(8, 16, seed=3),
    "3.bias": floats(8, seed=4),
}


@pytest.fixture(scope="module")
def backbone() -> dict[str, Any]:
    return bundled_tensors()


@pytest.fixture
def joined(tmp_path: Path, backbone: dict[str, Any]) -> Path:
    """Two state dicts and a pickled module beside a backbone with a classifier of its own."""
    save(tmp_path / "b0.pt", stored(backbone))
    save(tmp_path / "expr.pt", {"model_state_dict": stored(EXPRESSION)})
    save(tmp_path / "va.pt", stored({"weight": floats(2, FEATURES, seed=5), "bias": floats(2, seed=6)}))
    linear = {"weight": Stored(floats(12, FEATURES, seed=7)), "bias": Stored(floats(12, seed=8))}
    save(tmp_path / "au.pt", module("torch.nn.modules.linear.Linear", linear))
    path = tmp_path / "abaw.toml"
    path.write_text(JOINED)
    return path


def test_heads_compute_on_the_features_before_the_backbone_s_own_classifier(
    joined: Path, backbone: dict[str, Any]
) -> None:
    network = load_network(joined)
    assert network.family == "emotion_heads"
    image = floats(1, 3, 64, 64)
    body = {name: tensor for name, tensor in backbone.items() if not name.startswith("classifier.")}
    path = save(joined.with_name("body.pt"), stored(body))
    embedding = {**SPEC, "outputs": [{"name": "features", "kind": "embedding"}]}
    features = run(load_network(path, arch="efficientnet_b0", spec=embedding).graph, image)
    hidden = np.maximum(features @ EXPRESSION["0.weight"].T + EXPRESSION["0.bias"], 0)
    expected = {
        "expression": hidden @ EXPRESSION["3.weight"].T + EXPRESSION["3.bias"],
        "valence_arousal": features @ floats(2, FEATURES, seed=5).T + floats(2, seed=6),
        "action_units": features @ floats(12, FEATURES, seed=7).T + floats(12, seed=8),
    }
    assert list(network.graph.outputs) == [*expected]
    for name, values in expected.items():
        np.testing.assert_allclose(run(network.graph, image, name), values, atol=1e-4 * np.abs(values).max())


def test_what_heads_mean_is_abaw_s_where_nothing_else_is_stated(joined: Path) -> None:
    expression, valence, units = load_network(joined).spec.outputs
    assert expression.labels[0] == "neutral" and expression.activation == "softmax"
    assert valence.activation == "tanh"
    assert units.labels[-1] == "AU26" and units.thresholds is not None and units.thresholds[-2:] == (0.3, 0.7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('backbone = "b0.pt"', "", "names no backbone, or no heads"),
        ('"va.pt"', '"gone.pt"', r"it names gone\.pt, but there is no such file"),
        ('expression = "relu"', "", "head expression: tensors do not show what stands between"),
        ('"va.pt"', '"b0.pt"', "head|tensor|output"),
        ("[hidden_activation]\nexpression =", "hidden_activation =", r"hidden_activation stands under \[heads\]"),
        ("valence_arousal =", "arousal =", "nothing says what the network's outputs mean"),
    ],
)
def test_what_does_not_fit_is_told(joined: Path, old: str, new: str, message: str) -> None:
    joined.write_text(JOINED.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_network(joined)
    assert "abaw.toml" in caught.value.message


def test_a_head_of_other_features_is_told(joined: Path) -> None:
    save(joined.with_name("va.pt"), stored({"weight": floats(2, 512), "bias": floats(2)}))
    with pytest.raises(InputError, match=r"valence_arousal\.weight has shape \[2, 512\] instead of \[any, 1280\]"):
        load_network(joined)
