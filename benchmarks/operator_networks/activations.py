"""Layers, three in each light network: in the stem, between the layers of a residual, and behind its sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import WIDTH, Formula, Layer, conv, of_faces, pooled, stem
from benchmarks.published_networks import Published


class _Residual(nn.Module):
    """Wide, depthwise, narrow, and what came before."""

    def __init__(self, inner: Layer, last: Layer) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(WIDTH, 64, 1, activation=inner),
            conv(64, 64, 3, groups=64, activation=inner),
            conv(64, WIDTH, 1, activation=nn.Identity),
        )
        self.last = last()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.layers(x))


def _act(first: Layer, inner: Layer, last: Layer) -> Published:
    return of_faces(partial(stem, activation=first), partial(_Residual, inner, last), pooled)


def _by(function: Callable[[Tensor], Tensor]) -> Layer:
    return partial(Formula, function)


def _learned(function: Callable[..., Tensor], *values: float) -> Layer:
    return lambda: Formula(function, *(nn.Parameter(torch.tensor(value)) for value in values))


def _star(scale: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return scale * functional.relu(x) ** 2 + bias


def _signed_log(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(x.abs())


class _Gated(nn.Module):
    """A linear unit whose gate is the other half of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(WIDTH, 2 * WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.wide(x), dim=1)


_QUICK = _by(lambda x: x * torch.sigmoid(1.702 * x))
_SNAKE = _by(lambda x: x + torch.sin(2 * x) ** 2 / 2)
_LEARNED_SWISH = _learned(lambda beta, x: x * torch.sigmoid(beta * x), 1.3)

ACTIVATIONS = {
    "act_relu6_prelu_leaky": _act(nn.ReLU6, partial(nn.PReLU, 64), partial(nn.LeakyReLU, 0.1)),
    "act_elu_selu_celu": _act(nn.ELU, nn.SELU, partial(nn.CELU, 0.5)),
    "act_mish_softplus_softsign": _act(nn.Mish, nn.Softplus, nn.Softsign),
    "act_threshold_hardtanh": _act(partial(nn.Threshold, 0.2, 0.0), nn.Hardswish, partial(nn.Hardtanh, -0.5, 2.0)),
    "act_gelus": _act(nn.GELU, partial(nn.GELU, approximate="tanh"), _QUICK),
    "act_silu_swish_hardswish": _act(nn.SiLU, _LEARNED_SWISH, nn.Hardswish),
    "act_tanh_sigmoid": _act(nn.Tanh, nn.Sigmoid, nn.Tanh),
    "act_star_snake": _act(_learned(_star, 0.8944, -0.4472), _SNAKE, nn.ReLU),
    "act_glu_shrink_log": _act(partial(nn.Softshrink, 0.2), _by(_signed_log), _Gated),
}
