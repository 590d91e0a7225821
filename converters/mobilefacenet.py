"""MobileFaceNet as InsightFace builds it, and as HSEmotion trains it for expressions, valence and arousal.

Chen et al., CCBR 2018.  HSEmotion (av-savchenko/face-emotion-recognition) publishes whole pickled modules with a linear
layer `fc` on the 512 features: eight expressions, then valence and arousal (`mbf_va_mtl`).  Without `fc` it is an
embedding.  The kernel of the last depthwise convolution covers what is left of the image, and so tells how large images
were in training.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from edgefer.networks.network import Source, TorchNetwork

INPUT = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop": {"align": "five_points"}}
EXPRESSIONS = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
OUTPUTS = [
    {"name": "expression", "kind": "expression", "activation": "softmax", "labels": EXPRESSIONS, "columns": [0, 8]},
    {"name": "valence_arousal", "kind": "valence_arousal", "labels": ["valence", "arousal"], "columns": [8, 10]},
]
EMBEDDING = [{"name": "embedding", "kind": "embedding"}]

_LAST = "features.layers.0.layers.0.weight"
_STRIDE = 16
"""Pixels of the image to one of the last map."""


def recognises(source: Source) -> bool:
    """Whether it has the stages' and the last depthwise convolution."""
    return source.holds("conv_sep.layers.0.weight", _LAST)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint(_LAST)
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    stem = shapes.get("layers.0.layers.0.weight", (64,))[0]
    features = shapes.get("features.layers.2.weight", (512,))[0]
    classes = shapes["fc.weight"][0] if "fc.weight" in shapes else 0
    blocks = [_count(shapes, stage) for stage in (1, 3, 5, 7)]
    side = shapes[_LAST][-1]
    spec: dict[str, Any] = {"input": {**INPUT, "size": [_STRIDE * side] * 2}}
    if classes in (0, 10):
        spec["outputs"] = OUTPUTS if classes else EMBEDDING
    return TorchNetwork(partial(build, stem, blocks, features, classes, side), spec, checkpoint)


def _count(shapes: dict[str, tuple[int, ...]], stage: int) -> int:
    """Blocks of a stage; 0 for a single convolution, which stands where the first stage has one block."""
    inside = (re.match(rf"layers\.{stage}\.layers\.(\d+)\.layers\.0\.", name) for name in shapes)
    return max((int(match[1]) + 1 for match in inside if match), default=0)


def build(stem: int, blocks: list[int], features: int, classes: int, side: int = 7) -> Any:
    """The network.

    Args:
        stem: channels of the first convolution.
        blocks: of each stage; 0 in the first for a single convolution.
        features: of the embedding.
        classes: columns of `fc`, 0 for none.
        side: of the last map, a sixteenth of the image's.
    """
    import torch
    from torch import nn

    class Layers(nn.Module):
        """Others in sequence, beside a shortcut with `adds`."""

        def __init__(self, *layers: nn.Module, adds: bool = False) -> None:
            super().__init__()
            self.layers = nn.Sequential(*layers)
            self.adds = adds

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x) + x if self.adds else self.layers(x)

    def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Layers:
        padding = kernel // 2 if kernel == 3 else 0
        layers = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        return Layers(*layers, nn.PReLU(outputs))

    def linear(inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> Layers:
        layers = nn.Conv2d(inputs, outputs, kernel, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        return Layers(*layers)

    def block(inputs: int, outputs: int, wide: int, stride: int) -> Layers:
        middle = conv(wide, wide, 3, stride, groups=wide)
        return Layers(conv(inputs, wide), middle, linear(wide, outputs), adds=stride == 1)

    def stage(channels: int, count: int, wide: int) -> nn.Module:
        return Layers(*(block(channels, channels, wide, 1) for _ in range(count)))

    class MobileFaceNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            wide = 2 * stem
            self.layers = nn.ModuleList(
                [
                    conv(3, stem, 3, 2),
                    stage(stem, blocks[0], 128) if blocks[0] else conv(stem, stem, 3, 1, groups=64),
                    block(stem, stem, 128, 2),
                    stage(stem, blocks[1], 128),
                    block(stem, wide, 256, 2),
                    stage(wide, blocks[2], 256),
                    block(wide, wide, 512, 2),
                    stage(wide, blocks[3], 256),
                ]
            )
            self.conv_sep = conv(wide, 512)
            flat = nn.Flatten(), nn.Linear(512, features, bias=False), nn.BatchNorm1d(features)
            self.features = Layers(linear(512, 512, side, groups=512), *flat)
            self.fc = nn.Linear(features, classes) if classes else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.fc(self.features(self.conv_sep(x)))

    return MobileFaceNet()
