"""InceptionResnetV1, which is FaceNet, and FaceNet2ExpNet's way of training one for expressions.

Schroff et al., CVPR 2015; Ding et al., FG 2017; tensors, normalisation and crop as in timesler/facenet-pytorch
(`models/inception_resnet_v1.py`, `models/mtcnn.py`).  Without `logits`, or with those of the identities of its training
set, it is an embedding of 512 numbers of length one.  With `logits` of expressions it classifies; which expressions
must be stated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from edgefer.networks.network import Source, TorchNetwork

INPUT = {
    **{"size": [160, 160], "mean": [0.5, 0.5, 0.5], "std": [128 / 255] * 3},  # (x - 127.5) / 128
    "crop": {"margin": 0.0, "detector": "MTCNN"},
}
EMBEDDING = [{"name": "embedding", "kind": "embedding"}]
IDENTITIES = 1000
"""Where `logits` has more columns, they are people."""

_LAST = "block8.branch1.0.conv.weight"


def recognises(source: Source) -> bool:
    """Whether it has the network's first and last blocks."""
    return source.holds("conv2d_1a.conv.weight", _LAST)


def load(source: Source) -> TorchNetwork:
    """Read the checkpoint.

    Raises:
        InputError: it is damaged, or not this network.
    """
    checkpoint = source.checkpoint(_LAST)
    tensor = checkpoint.tensors.get("logits.weight")
    classes = tensor.shape[0] if tensor is not None and tensor.shape[0] < IDENTITIES else 0
    spec = {"input": INPUT} if classes else {"input": INPUT, "outputs": EMBEDDING}
    left = {} if classes else {"logits.": "the identities that it was trained with"}
    return TorchNetwork(partial(build, classes), spec, checkpoint, left_out=left)


def build(classes: int) -> Any:
    """The network of so many classes; with 0 of them, the embedding."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Conv(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: Any = 1, stride: int = 1, padding: Any = 0) -> None:
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.bn(self.conv(x)))

    class Branches(nn.Module):
        """Side by side, their channels one after another."""

        def __init__(self, *branches: nn.Module) -> None:
            super().__init__()
            self.count = len(branches)
            for index, branch in enumerate(branches):
                self.add_module(f"branch{index}", branch)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([getattr(self, f"branch{index}")(x) for index in range(self.count)], 1)

    class Residual(Branches):
        """Branches, projected, scaled and added to what they read."""

        def __init__(self, channels: int, joined: int, scale: float, *branches: nn.Module, relu: bool = True) -> None:
            super().__init__(*branches)
            self.conv2d = nn.Conv2d(joined, channels, 1)
            self.scale, self.relu = scale, relu

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv2d(super().forward(x)) * self.scale + x
            return torch.relu(y) if self.relu else y

    def block35() -> Residual:
        second = nn.Sequential(Conv(256, 32), Conv(32, 32, 3, 1, 1))
        third = nn.Sequential(Conv(256, 32), Conv(32, 32, 3, 1, 1), Conv(32, 32, 3, 1, 1))
        return Residual(256, 96, 0.17, Conv(256, 32), second, third)

    def crossed(channels: int, wide: int, side: int, scale: float, relu: bool = True) -> Residual:
        """1 x side, then side x 1."""
        row = Conv(wide, wide, (1, side), padding=(0, side // 2))
        column = Conv(wide, wide, (side, 1), padding=(side // 2, 0))
        branches = Conv(channels, wide), nn.Sequential(Conv(channels, wide), row, column)
        return Residual(channels, 2 * wide, scale, *branches, relu=relu)

    class InceptionResnet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv2d_1a = Conv(3, 32, 3, 2)
            self.conv2d_2a = Conv(32, 32, 3)
            self.conv2d_2b = Conv(32, 64, 3, 1, 1)
            self.maxpool_3a = nn.MaxPool2d(3, 2)
            self.conv2d_3b = Conv(64, 80)
            self.conv2d_4a = Conv(80, 192, 3)
            self.conv2d_4b = Conv(192, 256, 3, 2)
            self.repeat_1 = nn.Sequential(*(block35() for _ in range(5)))
            self.mixed_6a = Branches(
                Conv(256, 384, 3, 2),
                nn.Sequential(Conv(256, 192), Conv(192, 192, 3, 1, 1), Conv(192, 256, 3, 2)),
                nn.MaxPool2d(3, 2),
            )
            self.repeat_2 = nn.Sequential(*(crossed(896, 128, 7, 0.1) for _ in range(10)))
            self.mixed_7a = Branches(
                nn.Sequential(Conv(896, 256), Conv(256, 384, 3, 2)),
                nn.Sequential(Conv(896, 256), Conv(256, 256, 3, 2)),
                nn.Sequential(Conv(896, 256), Conv(256, 256, 3, 1, 1), Conv(256, 256, 3, 2)),
                nn.MaxPool2d(3, 2),
            )
            self.repeat_3 = nn.Sequential(*(crossed(1792, 192, 3, 0.2) for _ in range(5)))
            self.block8 = crossed(1792, 192, 3, 1.0, relu=False)
            self.last_linear = nn.Linear(1792, 512, bias=False)
            self.last_bn = nn.BatchNorm1d(512, eps=1e-3)
            if classes:
                self.logits = nn.Linear(512, classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for name in ("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "conv2d_4b"):
                x = getattr(self, name)(x)
            x = self.mixed_7a(self.repeat_2(self.mixed_6a(self.repeat_1(x))))
            x = self.block8(self.repeat_3(x)).mean((2, 3))
            x = self.last_bn(self.last_linear(x))
            return self.logits(x) if classes else functional.normalize(x, dim=1)

    return InceptionResnet()
