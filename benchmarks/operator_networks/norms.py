"""Norms over channels, places and weights, many of them written by hand."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from benchmarks.operator_networks.parts import CLASSES, WIDTH, Formula, Layer, Made, Said, conv, of_faces, pooled, stem
from benchmarks.published_networks import Published


class _Block(nn.Module):
    """ConvNeXt's: depthwise 5x5, a norm over channels, wide layers, and a gain of each channel."""

    def __init__(self, norm: Layer, inner: Layer, gain: float = 1.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH)
        self.norm, self.inner = norm(), inner()
        self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.gain = nn.Parameter(gain * torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.down(self.inner(functional.gelu(self.up(inner))))
        return x + (self.gain * inner).permute(0, 3, 1, 2)


class _Grn(nn.Module):
    """ConvNeXt V2's, of maps (N, H, W, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.randn(1, 1, 1, 64) * 0.3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        length = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        share = length / (length.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * share) + self.beta + x


class _Standardised(nn.Conv2d):
    """Weights of mean 0 and variance 1, as big transfer has them."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def _rms_channels(gain: Tensor, x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6) * gain


def _layer_norm_channels(gain: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    return gain[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-6)) + bias[:, None, None]


def _evo_norm(v: Tensor, gain: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """EvoNorm-S0 (Liu et al. 2020)."""
    groups = x.reshape(x.shape[0], 4, -1, *x.shape[2:])
    deviation = torch.sqrt(groups.var(dim=(2, 3, 4), keepdim=True) + 1e-5).expand_as(groups).reshape(x.shape)
    return x * torch.sigmoid(v * x) / deviation * gain + bias


def _modulated(style: nn.Module, x: Tensor) -> Tensor:
    """AdaIN with gains from the map's own mean."""
    gain, bias = style(x.mean((2, 3))).chunk(2, 1)
    mean, deviation = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True) + 1e-5
    return (x - mean) / deviation * (1 + gain[:, :, None, None]) + bias[:, :, None, None]


def _gain(*shape: int, value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value) + 0.1 * torch.randn(shape))


def _ones() -> nn.Parameter:
    return _gain(1, WIDTH, 1, 1)


def _zeros() -> nn.Parameter:
    return _gain(1, WIDTH, 1, 1, value=0.0)


def _normed(make: Layer) -> Published:
    """Between a convolution without batch norm and its activation."""
    return of_faces(
        partial(stem, 16),
        lambda: nn.Conv2d(WIDTH, WIDTH, 3, 2, 1, groups=4),
        make,
        nn.ReLU,
        partial(conv, WIDTH, WIDTH, 1),
        pooled,
    )


def _by(function: Said, *held: Made) -> Published:
    return _normed(lambda: Formula(function, *(each() for each in held)))


def _weighted(make: Layer) -> Published:
    """A convolution of its own, and a linear layer behind a batch norm without gains."""
    return of_faces(
        partial(stem, 16),
        make,
        partial(nn.GroupNorm, 8, WIDTH),
        nn.ReLU,
        lambda: nn.AdaptiveAvgPool2d(1),
        nn.Flatten,
        lambda: nn.BatchNorm1d(WIDTH, affine=False),
        lambda: nn.Linear(WIDTH, CLASSES),
    )


def _plain() -> nn.Module:
    return nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)


class _Tied(nn.Module):
    """One convolution thrice, and a layer whose transpose leads back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.narrow = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, 16, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = x + functional.relu(norm(self.layer(x)))
        means = x.mean((2, 3))
        return means + functional.linear(torch.tanh(self.narrow(means)), self.narrow.weight.t())


NORMS = {
    "norm_grn": of_faces(stem, lambda: _Block(lambda: nn.LayerNorm(WIDTH, eps=1e-6), _Grn), pooled),
    "norm_layer_scale": of_faces(stem, lambda: _Block(lambda: nn.LayerNorm(WIDTH), nn.Identity, 1e-2), pooled),
    "norm_rms_channels": _by(_rms_channels, _ones),
    "norm_layer_channels": _by(_layer_norm_channels, lambda: _gain(WIDTH), lambda: _gain(WIDTH, value=0.0)),
    "norm_group": _normed(lambda: nn.GroupNorm(4, WIDTH)),
    "norm_instance_affine": _normed(lambda: nn.InstanceNorm2d(WIDTH, affine=True)),
    "norm_local_response": _normed(lambda: nn.LocalResponseNorm(5, 1e-2)),
    "norm_evo": _by(_evo_norm, _ones, _ones, _zeros),
    "norm_modulated": _by(_modulated, lambda: nn.Linear(WIDTH, 2 * WIDTH)),
    "norm_of_batch": _normed(lambda: nn.BatchNorm2d(WIDTH, track_running_stats=False)),
    "norm_weights_standardised": _weighted(lambda: _Standardised(WIDTH, WIDTH, 3, 2, 1)),
    "norm_weight_norm": _weighted(lambda: parametrizations.weight_norm(_plain())),
    "norm_spectral_norm": _weighted(lambda: parametrizations.spectral_norm(_plain())),
    "norm_tied": of_faces(stem, _Tied, lambda: nn.Linear(WIDTH, CLASSES)),
}
