"""What the small networks have in common: a stem on faces, a head of seven kinds, and formulas between layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from benchmarks.published_networks import SEVEN, Published

SIZE, CLASSES, WIDTH = 64, 7, 32
"""Pixels of a side, kinds of faces, channels of most maps."""
FRAMES = 4
"""Of a clip."""
_WIDTHS = (12, 24, 32, 48)

Answer = Tensor | tuple[Tensor, ...]
Layer = Callable[[], nn.Module]
Made = Callable[[], nn.Module | nn.Parameter]
Said = Callable[..., Answer]
"""What a network answers; what makes a layer anew, or a parameter; a formula of them."""


class Formula(nn.Module):
    """A function of layers, parameters and what flows through the network, the last of its arguments."""

    def __init__(self, function: Said, *held: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self._function = function
        self._names = [f"held{index}" for index in range(len(held))]
        for name, each in zip(self._names, held, strict=True):
            setattr(self, name, each)

    def forward(self, x: Tensor) -> Answer:
        """What the function says of `x`."""
        return self._function(*(getattr(self, name) for name in self._names), x)


class PerFrame(nn.Module):
    """Layers for each frame of clips (N, T, 3, H, W), to features (N, T, C)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features of all frames."""
        return self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Layer = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), activation())


def stem(side: int = 8, width: int = WIDTH, inputs: int = 3, activation: Layer = nn.ReLU) -> nn.Sequential:
    """Convolutions that halve images (N, inputs, 64, 64) to a map (N, width, side, side)."""
    count = (SIZE // side).bit_length() - 1
    widths = (inputs, *_WIDTHS[: count - 1], width)
    return nn.Sequential(*(conv(a, b, stride=2, activation=activation) for a, b in pairwise(widths)))


def pooled(width: int = WIDTH, classes: int = CLASSES) -> nn.Sequential:
    """Logits of a map (N, width, H, W), by its mean."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def tokens(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as tokens (N, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def head(name: str = "expression", kind: str = "expression", activation: str = "softmax", count: int = CLASSES) -> Any:
    """An output of a Spec."""
    labels = {"expression": SEVEN, "valence_arousal": ["valence", "arousal"]}.get(kind)
    named = labels or ([] if kind == "embedding" else [f"{kind}_{index}" for index in range(count)])
    return {"name": name, "kind": kind, "activation": activation, "labels": named}


def of_faces(
    *layers: Layer,
    heads: Sequence[Mapping[str, Any]] = (),
    pixels: bool = False,
    frames: int = 0,
) -> Published:
    """A network of layers one after the other, made anew each time.

    Args:
        layers: what makes each.
        heads: of its Spec; logits of seven kinds by default.
        pixels: whether it takes them up to 255, and normalises itself.
        frames: of a clip; none where it looks at an image.
    """
    mean, std = (0.0, 1 / 255) if pixels else (0.5, 0.5)
    stated: dict[str, Any] = {"size": [SIZE, SIZE], "mean": [mean] * 3, "std": [std] * 3}
    if frames:
        stated["frames"] = frames
    return Published(
        "",
        lambda: nn.Sequential(*(layer() for layer in layers)),
        stated={"input": stated, "outputs": list(heads) or [head()]},
        frames=frames,
    )
