"""Recurrent and temporal layers, over the columns of a map and over the frames of clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import (
    CLASSES,
    FRAMES,
    WIDTH,
    Formula,
    Layer,
    Made,
    PerFrame,
    Said,
    of_faces,
    pooled,
    stem,
)
from benchmarks.published_networks import Published


def _columns(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as a sequence (N, W, C)."""
    return x.mean(2).permute(0, 2, 1)


class _Recurrent(nn.Module):
    """torch's own layer, and what is read of its answers (N, T, C)."""

    def __init__(self, layer: nn.Module, read: Callable[[Tensor, Tensor], Tensor], turned: bool = False) -> None:
        super().__init__()
        self.layer, self.read, self.turned = layer, read, turned

    def forward(self, x: Tensor) -> Tensor:
        found, state = self.layer(x.transpose(0, 1) if self.turned else x)
        last = state[0] if isinstance(state, tuple) else state
        return self.read(found.transpose(0, 1) if self.turned else found, last)


def _last(found: Tensor, _: Tensor) -> Tensor:
    return found[:, -1]


def _states(_: Tensor, state: Tensor) -> Tensor:
    """The last states of both directions, side by side."""
    return torch.cat([state[-2], state[-1]], -1)


def _mean_and_most(found: Tensor, _: Tensor) -> Tensor:
    return torch.cat([found.mean(1), found.max(1)[0]], -1)


class _Cells(nn.Module):
    """A cell that Python's own loop runs over the sequence, its state begun by a layer."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.begin = cell(WIDTH, 24), nn.Linear(WIDTH, 24)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.begin(x[:, 0]))
        state = (hidden, torch.zeros_like(hidden)) if isinstance(self.cell, nn.LSTMCell) else hidden
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state[0] if isinstance(state, tuple) else state


class _ConvGru(nn.Module):
    """A GRU of maps, over clips of maps (N, T, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1)
        self.change = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, 0])
        for frame in x.unbind(1):
            reset, update = torch.sigmoid(self.gates(torch.cat([frame, state], 1))).chunk(2, 1)
            new = torch.tanh(self.change(torch.cat([frame, reset * state], 1)))
            state = (1 - update) * state + update * new
        return state


class _Causal(nn.Module):
    """A block of a TCN (Bai et al. 2018), over (N, C, T)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.utils.parametrizations.weight_norm(nn.Conv1d(WIDTH, WIDTH, 3, padding=2 * dilation, dilation=dilation))
            for _ in range(2)
        )
        self.cut = 2 * dilation
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.drop(torch.relu(self.first(x)[:, :, : -self.cut].contiguous()))
        return torch.relu(x + torch.relu(self.second(inner)[:, :, : -self.cut]))


class _Shift(nn.Module):
    """Temporal shift (Lin et al. 2019): a part of the channels comes from the frame before, one from the next."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        moved = torch.zeros_like(x)
        moved[:, :-1, :8] = x[:, 1:, :8]
        moved[:, 1:, 8:16] = x[:, :-1, 8:16]
        moved[:, :, 16:] = x[:, :, 16:]
        return torch.relu(x + self.layer(moved.flatten(0, 1)).view_as(x)).mean((1, 3, 4))


class _Encoder(nn.Module):
    """A transformer over frames, with sines for their places."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        place, rate = torch.arange(FRAMES)[:, None], torch.exp(torch.arange(0, WIDTH, 2) * -0.3)
        places = torch.zeros(FRAMES, WIDTH)
        places[:, 0::2], places[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.register_buffer("places", places)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x + self.places).mean(1)


def _attended(gate: nn.Module, x: Tensor) -> Tensor:
    """Frame attention (Meng et al. 2019): weights by sigmoid, divided by their sum."""
    weights = torch.sigmoid(gate(x))
    return (x * weights).sum(1).div(weights.sum(1))


def _differences(x: Tensor) -> Tensor:
    steps = x[:, 1:] - x[:, :-1]
    return torch.cat([x[:, -1], steps.mean(1), steps.abs().amax(1)], 1)


def _so_far(x: Tensor) -> Tensor:
    """The mean of all frames so far, by a running sum."""
    counts = torch.arange(1, x.shape[1] + 1).view(1, -1, 1)
    means = torch.cumsum(x, dim=1) / counts
    return torch.cat([means[:, -1], (x - means).pow(2).mean(1).sqrt()], 1)


def _scanned(decay: Tensor, x: Tensor) -> Tensor:
    """A diagonal state space, by one product with powers of its decay."""
    count = x.shape[1]
    away = (torch.arange(count)[:, None] - torch.arange(count)[None]).clamp(min=0)
    powers = torch.exp(-functional.softplus(decay).view(1, 1, -1) * away.unsqueeze(-1))
    powers = powers * torch.tril(torch.ones(count, count)).unsqueeze(-1)
    return torch.einsum("tsc,nsc->ntc", powers, x).mean(1)


def _by_confidence(score: nn.Module, x: Tensor) -> Tensor:
    """The two surest frames, in the order of their scores."""
    order = torch.argsort(score(x).squeeze(-1), dim=1, descending=True)[:, :2]
    return torch.gather(x, 1, order.unsqueeze(-1).expand(-1, -1, x.shape[2])).flatten(1)


def _fc(width: int = WIDTH) -> Layer:
    return lambda: nn.Linear(width, CLASSES)


def _features() -> nn.Module:
    return PerFrame(stem(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _maps() -> nn.Module:
    return PerFrame(stem())


def _over_columns(width: int, layer: Layer) -> Published:
    return of_faces(stem, lambda: Formula(_columns), layer, _fc(width))


def _over_frames(width: int, layer: Layer) -> Published:
    return of_faces(_features, layer, _fc(width), frames=FRAMES)


def _said(width: int, function: Said, *held: Made) -> Published:
    return _over_frames(width, lambda: Formula(function, *(each() for each in held)))


def _of(kind: type[nn.Module], read: Callable[[Tensor, Tensor], Tensor] = _last, **options: object) -> nn.Module:
    return _Recurrent(kind(WIDTH, 24, batch_first=True, **options), read)


def _gate() -> nn.Module:
    return nn.Linear(WIDTH, 1)


SEQUENCES = {
    "columns_lstm": _over_columns(24, lambda: _of(nn.LSTM)),
    "columns_lstm_both": _over_columns(96, lambda: _of(nn.LSTM, _mean_and_most, bidirectional=True)),
    "columns_gru_both": _over_columns(48, lambda: _of(nn.GRU, _states, bidirectional=True)),
    "columns_rnn_relu_both": _over_columns(48, lambda: _of(nn.RNN, nonlinearity="relu", bidirectional=True)),
    "columns_gru_cells": _over_columns(24, lambda: _Cells(nn.GRUCell)),
    "columns_tcn": of_faces(
        stem,
        lambda: Formula(lambda x: x.mean(2)),
        *(partial(_Causal, dilation) for dilation in (1, 2, 4)),
        lambda: Formula(lambda x: x[..., -1]),
        _fc(),
    ),
    "columns_conv1d": of_faces(
        stem,
        lambda: Formula(lambda x: x.mean(2)),
        lambda: nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2, groups=8),
        lambda: nn.BatchNorm1d(WIDTH),
        nn.Hardswish,
        lambda: nn.MaxPool1d(2),
        nn.Flatten,
        _fc(2 * WIDTH),
    ),
    "clip_gru_both": _over_frames(96, lambda: _of(nn.GRU, _mean_and_most, bidirectional=True)),
    "clip_conv_gru": of_faces(_maps, _ConvGru, pooled, frames=FRAMES),
    "clip_shift": of_faces(_maps, _Shift, _fc(), frames=FRAMES),
    "clip_encoder": _over_frames(WIDTH, _Encoder),
    "clip_attended": _said(WIDTH, _attended, _gate),
    "clip_differences": _said(3 * WIDTH, _differences),
    "clip_so_far": _said(2 * WIDTH, _so_far),
    "clip_scanned": _said(WIDTH, _scanned, lambda: nn.Parameter(torch.zeros(WIDTH))),
    "clip_surest": _said(2 * WIDTH, _by_confidence, _gate),
}
