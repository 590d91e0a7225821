"""ResNets up to their last map, as torchvision builds them, and as VGGFace2's were trained: what others build upon.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016.  Importing this module needs the `torch` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgefer.graph.torch_module import Tensor, functional, torch

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks of each stage, by how the network is called."""


def stages(depth: int, *, caffe: bool = False) -> dict[str, Any]:
    """Layers by torchvision's names, in order, from the image to the last map: `conv1` to `layer4`.

    Args:
        depth: one of `DEPTHS`.
        caffe: as in Caffe, and in VGGFace2's networks, the first pool rounds up instead of padding, and the first
            convolution of a bottleneck has the stride; in torchvision the 3x3 one has it.
    """
    bottleneck = depth >= 50
    widths = (64, 128, 256, 512)
    channels = 64
    layers: dict[str, Any] = {
        "conv1": torch.nn.Conv2d(3, channels, 7, 2, 3, bias=False),
        "bn1": torch.nn.BatchNorm2d(channels),
        "relu": torch.nn.ReLU(),
        "maxpool": torch.nn.MaxPool2d(3, 2, 0 if caffe else 1, ceil_mode=caffe),
    }
    for index, (width, count) in enumerate(zip(widths, DEPTHS[depth], strict=True)):
        blocks = []
        for block in range(count):
            stride = 2 if block == 0 and index > 0 else 1
            blocks.append(Residual(channels, width, stride, bottleneck=bottleneck, caffe=caffe))
            channels = width * (4 if bottleneck else 1)
        layers[f"layer{index + 1}"] = torch.nn.Sequential(*blocks)
    return layers


class Residual(torch.nn.Module):  # type: ignore[misc]
    """A block: two 3x3 convolutions, or with `bottleneck` 1x1, 3x3 and 1x1, beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool, caffe: bool) -> None:
        super().__init__()
        wide = width * 4 if bottleneck else width
        shapes: Sequence[tuple[int, int, int, int]] = (  # inputs, outputs, kernel, stride
            [
                (channels, width, 1, stride if caffe else 1),
                (width, width, 3, 1 if caffe else stride),
                (width, wide, 1, 1),
            ]
            if bottleneck
            else [(channels, width, 3, stride), (width, width, 3, 1)]
        )
        self.count = len(shapes)
        for index, (inputs, outputs, kernel, step) in enumerate(shapes, 1):
            self.add_module(f"conv{index}", torch.nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{index}", torch.nn.BatchNorm2d(outputs))
        self.downsample = None
        if stride != 1 or channels != wide:
            self.downsample = torch.nn.Sequential(
                torch.nn.Conv2d(channels, wide, 1, stride, bias=False), torch.nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, wide, H / stride, W / stride)."""
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = functional.relu(y) if index < self.count else y
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))
