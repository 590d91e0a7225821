"""Pools: how a map becomes features, or a smaller map."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import CLASSES, WIDTH, Formula, Layer, Made, Said, conv, of_faces, pooled, stem
from benchmarks.published_networks import Published


def _gem(power: Tensor, x: Tensor) -> Tensor:
    return functional.avg_pool2d(x.clamp(min=1e-6).pow(power), x.shape[-2:]).pow(1.0 / power).flatten(1)


def _log_sum_exp(sharpness: Tensor, x: Tensor) -> Tensor:
    places = x.flatten(2)
    return (torch.logsumexp(sharpness * places, 2) - torch.log(torch.tensor(float(places.shape[2])))) / sharpness


def _statistics(x: Tensor) -> Tensor:
    places = x.flatten(2)
    return torch.cat([places.mean(2), places.std(2), places.var(2, unbiased=False)], 1)


def _soft_pool(x: Tensor) -> Tensor:
    weights = torch.exp(x)
    return functional.avg_pool2d(x * weights, 2) / functional.avg_pool2d(weights, 2)


def _top(x: Tensor) -> Tensor:
    return torch.topk(x.flatten(2), 5, dim=2)[0].mean(2)


def _extremes(x: Tensor) -> Tensor:
    places = x.flatten(2)
    doubts = 1 - torch.sigmoid(places[:, :, ::8])
    return torch.cat([places.amin(2), places.amax(2), 1 - doubts.prod(2), places.abs().sum(2) / 64], 1)


class _NetVlad(nn.Module):
    """Arandjelovic et al. 2016."""

    def __init__(self, clusters: int = 6) -> None:
        super().__init__()
        self.assign = nn.Conv2d(WIDTH, clusters, 1)
        self.centres = nn.Parameter(torch.randn(clusters, WIDTH) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.normalize(x, p=2, dim=1)
        shares = functional.softmax(self.assign(x).flatten(2), dim=1)
        places = x.flatten(2)
        residual = places.unsqueeze(1) - self.centres[None, :, :, None]
        found = (residual * shares.unsqueeze(2)).sum(-1)
        return functional.normalize(functional.normalize(found, p=2, dim=2).flatten(1), p=2, dim=1)


class _Keypoints(nn.Module):
    """Where in the map each channel lies: a softmax over places, and the expectation of their coordinates."""

    def __init__(self) -> None:
        super().__init__()
        side = torch.linspace(-1, 1, 8)
        self.register_buffer("places", torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(64, 2))
        self.temperature = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.softmax(x.flatten(2) / self.temperature, -1) @ self.places).flatten(1)


class _BlurPool(nn.Module):
    """Zhang 2019: binomial weights, reflected border, stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        weights = row[:, None] * row[None]
        self.register_buffer("weights", (weights / weights.sum()).expand(channels, 1, 4, 4).clone())
        self.pad = nn.ReflectionPad2d((1, 2, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(self.pad(x), self.weights, stride=2, groups=x.shape[1])


def _bilinear(reduce: nn.Module, x: Tensor) -> Tensor:
    places = reduce(x).flatten(2)
    products = (torch.bmm(places, places.transpose(1, 2)) / places.shape[2]).flatten(1)
    return functional.normalize(torch.sign(products) * torch.sqrt(products.abs() + 1e-5))


def _covariance(reduce: nn.Module, x: Tensor) -> Tensor:
    places = reduce(x).flatten(2)
    centred = places - places.mean(2, keepdim=True)
    products = centred @ centred.mT / (places.shape[2] - 1)
    rows, columns = torch.triu_indices(12, 12)
    return products[:, rows, columns]


def _strips(mix: nn.Module, x: Tensor) -> Tensor:
    rows, columns = x.mean(3, keepdim=True).expand_as(x), x.mean(2, keepdim=True).repeat(1, 1, x.shape[2], 1)
    return x * torch.sigmoid(mix(rows + columns))


def _fc(inputs: int) -> Layer:
    return partial(nn.Linear, inputs, CLASSES)


def _formula(function: Said) -> Layer:
    return partial(Formula, function)


def _mapped(*layers: Layer) -> Published:
    """A pool between a stem that leaves 16x16 and two more convolutions."""
    return of_faces(partial(stem, 16), *layers, partial(conv, WIDTH, WIDTH, 3, 1, WIDTH), pooled)


def _read(width: int, function: Said, *held: Made) -> Published:
    """Features of a map of 8x8, which a linear layer reads."""
    return of_faces(stem, lambda: Formula(function, *(each() for each in held)), _fc(width))


def _narrow() -> nn.Module:
    return nn.Conv2d(WIDTH, 12, 1)


POOLING = {
    "pool_gem": _read(WIDTH, _gem, lambda: nn.Parameter(torch.ones(1) * 3)),
    "pool_lp": _mapped(partial(nn.LPPool2d, 3.0, 2)),
    "pool_log_sum_exp": _read(WIDTH, _log_sum_exp, lambda: nn.Parameter(torch.tensor(2.0))),
    "pool_statistics": _read(3 * WIDTH, _statistics),
    "pool_soft": _mapped(_formula(_soft_pool)),
    "pool_max_ceil": of_faces(
        partial(stem, 16), partial(nn.MaxPool2d, 3, 2, ceil_mode=True), partial(nn.MaxPool2d, 3, 2, 1, 2), pooled
    ),
    "pool_avg_excluding": _mapped(partial(nn.AvgPool2d, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
    "pool_adaptive_3": of_faces(stem, lambda: nn.AdaptiveAvgPool2d(3), nn.Flatten, _fc(9 * WIDTH)),
    "pool_top": _read(WIDTH, _top),
    "pool_extremes": _read(4 * WIDTH, _extremes),
    "pool_netvlad": of_faces(stem, _NetVlad, _fc(6 * WIDTH)),
    "pool_keypoints": of_faces(stem, _Keypoints, _fc(2 * WIDTH)),
    "pool_blur": of_faces(partial(stem, 16), partial(_BlurPool, WIDTH), partial(conv, WIDTH, WIDTH, 1), pooled),
    "pool_bilinear": _read(144, _bilinear, _narrow),
    "pool_covariance": _read(78, _covariance, _narrow),
    "pool_strips": of_faces(stem, lambda: Formula(_strips, nn.Conv2d(WIDTH, WIDTH, 1)), pooled),
}
