"""The field's published networks with seeded weights: what tests read, and `benchmarks/networks.py` converts.

No weights of others are here: the modules are those of `converters/`, filled with random numbers, and saved as the
authors save theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from converters import arm, dan, inception_resnet, mobilefacenet, psr, resnet
from edgefer.networks.resnet import stages

SEVEN = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]


@dataclass(frozen=True)
class Published:
    """A network as its authors publish it.

    Attributes:
        family: which converter reads it.
        build: the module.
        content: what is saved of its state dict.
        stated: what a user must say of it.
        arch: likewise.
        frames: that a sample has, of a network that looks at sequences.
    """

    family: str
    build: Callable[[], nn.Module]
    content: Callable[[Mapping[str, Any]], Any] = lambda state: {"model_state_dict": state}
    stated: Mapping[str, Any] = field(default_factory=dict)
    arch: str = ""
    frames: int = 0

    def save(self, module: nn.Module, folder: Path, name: str) -> Path:
        """Write what a user has of the network."""
        path = folder / f"{name}.pt"
        torch.save(self.content(module.state_dict()), path)
        return path


@dataclass(frozen=True)
class Joined(Published):
    """A backbone and heads, each a checkpoint of its own: parts of the module, by their names in the family's TOML."""

    def save(self, module: nn.Module, folder: Path, name: str) -> Path:
        """Write what a user has of the network."""
        backbone, heads = module.backbone, module.heads
        torch.save({"state_dict": backbone.state_dict()}, folder / "backbone.pt")
        lines = ['backbone = "backbone.pt"', f'arch = "{self.arch}"', "[heads]"]
        for head, layer in heads.items():
            torch.save(layer.state_dict(), folder / f"{head}.pt")
            lines.append(f'{head} = "{head}.pt"')
        path = folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path


def seeded(published: Published) -> nn.Module:
    """The module with random weights, and batch norms that keep activations in bounds, in evaluation mode."""
    torch.manual_seed(0)
    module = published.build()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.uniform_(0.3, 0.8)
                layer.bias.uniform_(-0.3, 0.3)
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


def parameters(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in module.parameters())


def _outputs(labels: list[str], activation: str = "softmax") -> list[dict[str, Any]]:
    return [{"name": "expression", "kind": "expression", "activation": activation, "labels": labels}]


class _Dacl(nn.Module):
    """With an attention network of the published names, but few numbers: its 92 million are not read."""

    def __init__(self) -> None:
        super().__init__()
        for name, layer in {**stages(18), "fc": nn.Linear(512, 7)}.items():
            self.add_module(name, layer)
        widths = (49, 8, 8, 8)
        layers = [(nn.Linear(*pair), nn.BatchNorm1d(pair[1]), nn.ReLU()) for pair in pairwise(widths)]
        self.attention = nn.Sequential(*chain(*layers))
        self.attention_heads = nn.Linear(8, 1024)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


class _CnnLstm(nn.Module):
    """A frame CNN, an LSTM over what it sees, a linear layer on what that says of the last frame."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for pair in pairwise((3, 32, 64, 128)):
            layers += [nn.Conv2d(*pair, 3, padding=1), nn.BatchNorm2d(pair[1]), nn.ReLU(), nn.MaxPool2d(2)]
        self.cnn = nn.Sequential(*layers)
        self.lstm = nn.LSTM(128, 64, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(128 if bidirectional else 64, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of clips (N, T, 3, H, W)."""
        seen = self.cnn(x.flatten(0, 1)).mean((2, 3))
        return self.fc(self.lstm(seen.reshape(*x.shape[:2], -1))[0][:, -1])


class _EmotionHeads(nn.Module):
    """Expressions, valence and arousal, and action units, each read off a backbone's features by a linear layer."""

    def __init__(self, backbone: nn.Module, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        widths = {"expression": 8, "valence_arousal": 2, "action_units": 12}
        self.heads = nn.ModuleDict({name: nn.Linear(features, width) for name, width in widths.items()})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.backbone(x)
        return tuple(head(x) for head in self.heads.values())


def _parallel(state: Mapping[str, Any]) -> Any:
    """As `nn.DataParallel` has it."""
    return {"epoch": 40, "model_state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}


def _plain(state: Mapping[str, Any]) -> Any:
    return dict(state)


def _facenet_content(state: Mapping[str, Any]) -> Any:
    """With the identities of VGGFace2."""
    return {**state, "logits.weight": torch.zeros(8631, 512), "logits.bias": torch.zeros(8631)}


SMALL = {"size": [64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

PUBLISHED = {
    "hsemotion_mobilefacenet": Published(
        "mobilefacenet", lambda: mobilefacenet.build(128, [0, 4, 6, 2], 512, 10), _plain
    ),
    "mobilefacenet": Published(
        "mobilefacenet",
        lambda: mobilefacenet.build(64, [0, 4, 6, 2], 512, 7, side=4),
        stated={"outputs": _outputs(SEVEN)},
    ),
    "resnet18": Published("resnet", lambda: resnet.build(18, 7), _plain, {"input": SMALL, "outputs": _outputs(SEVEN)}),
    "resnet34_features": Published(
        "resnet", lambda: resnet.build(34, 7, wrapped=True), stated={"input": SMALL, "outputs": _outputs(SEVEN)}
    ),
    "eac": Published("resnet", lambda: resnet.build(50, 7, wrapped=True, caffe=True), _plain, arch="eac_resnet50"),
    "dan": Published("dan", lambda: dan.build(4, 8)),
    "arm": Published("arm", lambda: arm.build(7)),
    "dacl": Published("dacl", _Dacl, _parallel, {"outputs": _outputs(SEVEN)}),
    "psr_ferplus": Published("psr", lambda: psr.build((96, 96), 4000, 8, 16), lambda s: {"model": s, "opt": {}}),
    "facenet": Published("inception_resnet", lambda: inception_resnet.build(0), _facenet_content),
    "facenet2expnet": Published(
        "inception_resnet", lambda: inception_resnet.build(7), stated={"outputs": _outputs(SEVEN)}
    ),
}
"""By name; what is not stated comes from the family."""

_CLIPS = {"input": SMALL, "outputs": _outputs(SEVEN)}
RECURRENT = {
    "cnn_lstm": Published("cnn_lstm", lambda: _CnnLstm(False), _plain, _CLIPS, frames=4),
    "cnn_bilstm": Published(
        "cnn_lstm", lambda: _CnnLstm(True), _plain, {**_CLIPS, "input": {**SMALL, "frames": 4}}, frames=4
    ),
}
"""Of sequences: one frame after the other, its states carried on, and a clip."""


def emotion_heads(backbone: Callable[[], nn.Module], arch: str, features: int) -> Published:
    """ABAW's three heads on a backbone of timm's that returns its features."""
    return Joined("emotion_heads", lambda: _EmotionHeads(backbone(), features), arch=arch)
