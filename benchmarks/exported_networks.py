"""Networks of the field that users export to ONNX themselves, for `benchmarks/networks.py` to convert.

Those that are no library's are built from their papers, at the sizes that work on faces uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.architectures import import_timm
from benchmarks.exports import ShuffleUnit
from benchmarks.published_networks import Published
from converters import psr

CLASSES = 7
LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def _timm(arch: str, **options: object) -> nn.Module:
    module: nn.Module = import_timm().create_model(arch, num_classes=CLASSES, **options)
    return module


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2 1.0x (Ma et al. 2018, table 5)."""
    widths, repeats = (24, 116, 232, 464), (4, 8, 4)
    units = [
        ShuffleUnit(narrow if index == 0 else wide, wide, 2 if index == 0 else 1)
        for (narrow, wide), count in zip(pairwise(widths), repeats, strict=True)
        for index in range(count)
    ]
    stem = [*_conv(3, 24, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    last = [*_conv(464, 1024, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, CLASSES)]
    return nn.Sequential(*stem, *units, *last)


def vgg16_bn() -> nn.Module:
    """VGG-16 with batch norm, and the short classifier that work on FER2013 gives it."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [*_conv(inputs, width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


class _Separable(nn.Module):
    """A block of mini-Xception (Arriaga et al. 2017, figure 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()

        def separable(channels: int) -> list[nn.Module]:
            depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            return [depthwise, *_conv(channels, outputs, 1)]

        self.layers = nn.Sequential(*separable(inputs), nn.ReLU(), *separable(outputs), nn.MaxPool2d(3, 2, 1))
        self.shortcut = nn.Sequential(*_conv(inputs, outputs, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


def mini_xception() -> nn.Module:
    """Of one gray channel; its last convolution is the classifier."""
    stem = [nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    stem += [nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    blocks = [_Separable(*pair) for pair in pairwise((8, 16, 32, 64, 128))]
    return nn.Sequential(*stem, *blocks, nn.Conv2d(128, CLASSES, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _frame_features(width: int) -> nn.Sequential:
    """Convolutions to a map of `width` channels, a sixteenth of the image's side."""
    widths = (3, 32, 64, 128, width)
    return nn.Sequential(*(layer for a, b in pairwise(widths) for layer in (*_conv(a, b, stride=2), nn.ReLU())))


class TransformerOnFeatures(nn.Module):
    """A transformer encoder over the places of a CNN's map, as torch's own layers build it."""

    def __init__(self, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.features = _frame_features(width)
        self.places = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 256, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (N, 3, 64, 64)."""
        tokens = self.features(x).flatten(2).transpose(1, 2)
        return self.fc(self.norm(self.encoder(tokens + self.places)).mean(1))


class SelfAttentionCnn(nn.Module):
    """Convolutions, and `nn.MultiheadAttention` over the places of their map."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.features = _frame_features(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (N, 3, 64, 64)."""
        tokens = self.features(x).flatten(2).transpose(1, 2)
        return self.fc((tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]).mean(1))


class _CoordinateAttention(nn.Module):
    """Gates from the means of rows and columns (Hou et al., CVPR 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, channels // 32)
        self.reduce = nn.Sequential(nn.Conv2d(channels, squeezed, 1), nn.BatchNorm2d(squeezed), nn.Hardswish())
        self.down, self.across = (nn.Conv2d(squeezed, channels, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)
        down, across = self.reduce(torch.cat([rows, columns], 2)).split([x.shape[2], x.shape[3]], 2)
        return x * self.down(down).sigmoid() * self.across(across.transpose(2, 3)).sigmoid()


class _MixedBlock(nn.Module):
    """An inverted residual with depthwise kernels of several sizes, and PReLU."""

    def __init__(self, inputs: int, outputs: int, kernels: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        wide, self.adds = 2 * inputs, stride == 1 and inputs == outputs
        part = wide // len(kernels)
        self.expand = nn.Sequential(*_conv(inputs, wide, 1), nn.PReLU(wide))
        self.mixed = nn.ModuleList(nn.Conv2d(part, part, k, stride, k // 2, groups=part, bias=False) for k in kernels)
        self.norm = nn.Sequential(nn.BatchNorm2d(wide), nn.PReLU(wide))
        self.project = nn.Sequential(*_conv(wide, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.expand(x).chunk(len(self.mixed), 1)
        y = self.norm(torch.cat([layer(part) for layer, part in zip(self.mixed, parts, strict=True)], 1))
        return self.project(y) + x if self.adds else self.project(y)


class DdamfnLike(nn.Module):
    """Mixed depthwise kernels, two heads of coordinate attention, the larger answer of both (Zhang et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (32, 64, 64, 128, 128, 128), (2, 1, 2, 1, 2)
        kernels = ((3, 5, 7, 9), (3, 5, 7, 9), (3, 5), (3, 5), (3, 5))
        blocks = [_MixedBlock(*pair, *more) for pair, *more in zip(pairwise(widths), kernels, strides, strict=True)]
        self.features = nn.Sequential(*_conv(3, 32, stride=2), nn.PReLU(32), *blocks)
        self.heads = nn.ModuleList(_CoordinateAttention(128) for _ in range(2))
        self.last = nn.Conv2d(128, 128, 4, groups=128, bias=False)
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(128, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (N, 3, 64, 64)."""
        features = self.features(x)
        first, second = (head(features) for head in self.heads)
        return self.fc(self.last(torch.maximum(first, second)))


def psr_unaligned() -> nn.Module:
    """PSR without its spatial transformer."""
    module: nn.Module = psr.build((96, 96), 4000, 8, 16)
    module.stn = nn.Identity()
    return module


def _exported(
    build: Callable[[], nn.Module],
    size: int = 64,
    color: str = "RGB",
    activation: str = "softmax",
    labels: Sequence[str] = LABELS,
) -> Published:
    channels = 1 if color == "GRAY" else 3
    stated = {"size": [size, size], "mean": [0.5] * channels, "std": [0.5] * channels, "color": color}
    head = {"name": "expression", "kind": "expression", "activation": activation, "labels": [*labels]}
    return Published("", build, stated={"input": stated, "outputs": [head]})


EXPORTED = {
    "mini_xception": _exported(mini_xception, color="GRAY"),
    "self_attention_cnn": _exported(SelfAttentionCnn),
    "transformer_on_cnn": _exported(TransformerOnFeatures),
    "ddamfn_like": _exported(DdamfnLike),
    "shufflenetv2": _exported(shufflenet_v2),
    "ghostnet": _exported(lambda: _timm("ghostnet_100")),
    "mobilenetv2": _exported(lambda: _timm("mobilenetv2_100")),
    "mobilenetv3_large": _exported(lambda: _timm("mobilenetv3_large_100")),
    "mobilevitv2_050": _exported(lambda: _timm("mobilevitv2_050")),
    "mobilevit_xs": _exported(lambda: _timm("mobilevit_xs")),
    "fastvit_t8": _exported(lambda: _timm("fastvit_t8")),
    "resnet50": _exported(lambda: _timm("resnet50")),
    "efficientnetv2_s": _exported(lambda: _timm("tf_efficientnetv2_s")),
    "convnext_tiny": _exported(lambda: _timm("convnext_tiny")),
    "vgg16_bn": _exported(vgg16_bn),
    "psr_unaligned": _exported(psr_unaligned, 96, activation="none", labels=[*LABELS, "contempt"]),
}
"""By name, the light ones first."""
