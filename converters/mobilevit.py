"""MobileViTv2 as timm builds it, and as HSEmotion trains it for expressions, valence and arousal.

Mehta and Rastegari, 2022.  HSEmotion (av-savchenko/face-emotion-recognition) publishes a whole pickled
`mobilevitv2_150` (`mobilevit_va_mtl`): eight expressions, then valence and arousal.  Other widths and depths are read
off the tensors, and their Spec must be stated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgefer.checkpoint import Tensor
from edgefer.networks.network import Source, TorchNetwork

SPEC = {
    "input": {
        **{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "crop": {"margin": 0.0, "detector": "MTCNN"},
    },
    "outputs": [
        {
            **{"name": "expression", "kind": "expression", "activation": "softmax", "columns": [0, 8]},
            "labels": ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"],
        },
        {"name": "valence_arousal", "kind": "valence_arousal", "labels": ["valence", "arousal"], "columns": [8, 10]},
    ],
}

_ATTENTION = "stages.2.1.transformer.0.attn.qkv_proj.weight"


def recognises(source: Source) -> bool:
    """Whether it has separable self-attention in the third stage, and timm's head."""
    return source.holds(_ATTENTION, "head.fc.weight")


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint(_ATTENTION)
    tensors = checkpoint.tensors
    is_published = "head.fc.weight" in tensors and tensors["head.fc.weight"].shape[0] == 10
    return TorchNetwork(partial(build, tensors), SPEC if is_published else {}, checkpoint)


def build(tensors: Mapping[str, Tensor]) -> Any:
    """The network whose widths and depths these tensors show."""
    import torch
    from torch import nn
    from torch.nn import functional

    def sides(name: str) -> tuple[int, ...]:
        """The shape of a weight, as far as it is there; what is missing is told when weights are read."""
        return tensors[f"{name}.weight"].shape if f"{name}.weight" in tensors else (1, 1, 1, 1)

    def count(pattern: str) -> int:
        return len({match[1] for name in tensors if (match := re.match(pattern, name))})

    class ConvNorm(nn.Module):
        def __init__(
            self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
        ) -> None:
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
            self.bn = nn.BatchNorm2d(outputs)
            self.act = nn.SiLU() if act else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.bn(self.conv(x)))

    class Bottleneck(nn.Module):
        """An inverted residual block."""

        def __init__(self, path: str, stride: int) -> None:
            super().__init__()
            wide, inputs, *_ = sides(f"{path}.conv1_1x1.conv")
            outputs = sides(f"{path}.conv3_1x1.conv")[0]
            self.adds = stride == 1 and inputs == outputs
            self.conv1_1x1 = ConvNorm(inputs, wide)
            self.conv2_kxk = ConvNorm(wide, wide, 3, stride, wide)
            self.conv3_1x1 = ConvNorm(wide, outputs, act=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv3_1x1(self.conv2_kxk(self.conv1_1x1(x)))
            return x + y if self.adds else y

    class Attention(nn.Module):
        """Each pixel's value, gated by the mean key over the patches, weighed by one query."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.width = width
            self.qkv_proj = nn.Conv2d(width, 1 + 2 * width, 1)
            self.out_proj = nn.Conv2d(width, width, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            query, key, value = self.qkv_proj(x).split([1, self.width, self.width], 1)
            context = (key * query.softmax(-1)).sum(-1, keepdim=True)
            return self.out_proj(torch.relu(value) * context)

    class Mlp(nn.Module):
        def __init__(self, width: int, wide: int) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(width, wide, 1), nn.Conv2d(wide, width, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc2(functional.silu(self.fc1(x)))

    class Transformer(nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            wide, width, *_ = sides(f"{path}.mlp.fc1")
            self.norm1, self.norm2 = nn.GroupNorm(1, width), nn.GroupNorm(1, width)
            self.attn, self.mlp = Attention(width), Mlp(width, wide)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Block(nn.Module):
        """Transformers over patches of 2x2 pixels: pixels of one place in their patches see each other."""

        def __init__(self, path: str) -> None:
            super().__init__()
            width, channels, *_ = sides(f"{path}.conv_1x1")
            depth = count(rf"{re.escape(path)}\.transformer\.(\d+)\.")
            self.conv_kxk = ConvNorm(channels, channels, 3, groups=channels)
            self.conv_1x1 = nn.Conv2d(channels, width, 1, bias=False)
            self.transformer = nn.Sequential(*(Transformer(f"{path}.transformer.{index}") for index in range(depth)))
            self.norm = nn.GroupNorm(1, width)
            self.conv_proj = ConvNorm(width, channels, act=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows, columns = (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2
            if x.shape[2:] != (2 * rows, 2 * columns):
                x = functional.interpolate(x, size=(2 * rows, 2 * columns), mode="bilinear", align_corners=True)
            x = self.conv_1x1(self.conv_kxk(x))
            images, width = x.shape[:2]
            patches = x.reshape(images, width, rows, 2, columns, 2).permute(0, 1, 3, 5, 2, 4)
            y = self.norm(self.transformer(patches.reshape(images, width, 4, rows * columns)))
            y = y.reshape(images, width, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
            return self.conv_proj(y.reshape(images, width, 2 * rows, 2 * columns))

    def stage(index: int) -> nn.Sequential:
        path = f"stages.{index}"
        blocks: list[nn.Module] = []
        for block in range(count(rf"stages\.{index}\.(\d+)\.")):
            is_block = f"{path}.{block}.conv_kxk.conv.weight" in tensors
            stride = 2 if index and not block else 1
            blocks.append(Block(f"{path}.{block}") if is_block else Bottleneck(f"{path}.{block}", stride))
        return nn.Sequential(*blocks)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            classes, features, *_ = sides("head.fc")
            self.fc = nn.Linear(features, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.mean((2, 3)))

    class MobileVit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = ConvNorm(3, sides("stem.conv")[0], 3, 2)
            self.stages = nn.Sequential(*(stage(index) for index in range(5)))
            self.head = Head()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.stages(self.stem(x)))

    return MobileVit()
