"""Heads: how features become logits, embeddings, valence, action units; and what decides between ways."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operator_networks.parts import (
    CLASSES,
    WIDTH,
    Formula,
    Layer,
    Made,
    Said,
    head,
    of_faces,
    pooled,
    stem,
    tokens,
)
from benchmarks.published_networks import Published

_UNITS = 5


def _features(width: int = WIDTH) -> nn.Module:
    return nn.Sequential(stem(width=width), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _ArcFace(nn.Module):
    """Cosines with class weights of length one, a margin in training; several centres for each class at will."""

    def __init__(self, centres: int = 1, scale: float = 16.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES * centres, WIDTH))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.centres, self.scale = centres, scale

    def forward(self, x: Tensor) -> Tensor:
        cosines = functional.linear(functional.normalize(self.norm(x)), functional.normalize(self.weight))
        if self.centres > 1:
            cosines = torch.max(cosines.view(-1, CLASSES, self.centres), dim=2)[0]
        return cosines.clamp(-1 + 1e-7, 1 - 1e-7) * self.scale


class _Distribution(nn.Module):
    """Logits, and valence and arousal as expectations over 20 bins each."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bins = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, 40)
        self.register_buffer("centres", torch.linspace(-1, 1, 20))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shares = functional.softmax(self.bins(x).view(-1, 2, 20), dim=2)
        return self.fc(x), (shares * self.centres).sum(dim=2)


class _Three(nn.Module):
    """Expressions, valence and arousal, action units, each by layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.expression = nn.Sequential(nn.Dropout(0.2), nn.Linear(WIDTH, CLASSES))
        self.valence = nn.Sequential(nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.units = nn.Linear(WIDTH + CLASSES, _UNITS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.expression(x)
        units = self.units(torch.cat([x, logits.softmax(1)], 1))
        return logits, torch.tanh(self.valence(x)), torch.sigmoid(units)


class _Mixture(nn.Module):
    """Experts, of which a softmax over the two likeliest decides."""

    def __init__(self, best: int) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(WIDTH, 4), nn.ModuleList(nn.Linear(WIDTH, CLASSES) for _ in range(4))
        self.best = best

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x)
        if self.best:
            values, places = scores.topk(self.best, dim=-1)
            scores = torch.full_like(scores, float("-inf")).scatter(-1, places, values)
        answers = torch.stack([expert(x) for expert in self.experts], -1)
        return (answers * scores.softmax(-1).unsqueeze(1)).sum(-1)


class _Capsules(nn.Module):
    """Sabour et al. 2017: squashed vectors, routed by agreement three times."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, 16, 8, 8) * 0.3)

    @staticmethod
    def _squash(x: Tensor) -> Tensor:
        squared = (x**2).sum(-1, keepdim=True)
        return squared / (1 + squared) * x / torch.sqrt(squared + 1e-8)

    def forward(self, x: Tensor) -> Tensor:
        x = self._squash(functional.adaptive_avg_pool2d(x, 2).permute(0, 2, 3, 1).reshape(-1, 16, 8))
        votes = torch.einsum("kiab,nib->nkia", self.weight, x)
        scores = torch.zeros_like(votes[..., 0])
        for _ in range(3):
            shares = torch.softmax(scores, dim=1)
            found = self._squash((shares.unsqueeze(-1) * votes).sum(2))
            scores = scores + (votes * found.unsqueeze(2)).sum(-1)
        return 10 * found.norm(dim=-1)


class _Refined(nn.Module):
    """The likeliest class's own vector, looked up, corrects the features."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, CLASSES)
        self.vectors = nn.Embedding(CLASSES, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return first + self.last(torch.relu(x + self.vectors(first.argmax(dim=1))))


class _Binned(nn.Module):
    """Features in sixteen bins, each with a vector of its own, beside themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        bins = (x * 8).long().clamp(0, 15)
        return torch.cat([x, self.vectors(bins).flatten(1)], 1)


class _Graph(nn.Module):
    """Regions of the map as nodes, who influence each other by similarity and by a learned matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.known = nn.Parameter(torch.eye(16) + 0.05 * torch.randn(16, 16))
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        nodes = tokens(functional.adaptive_avg_pool2d(x, 4))
        unit = functional.normalize(nodes, dim=-1)
        edges = torch.relu(self.known + unit @ unit.transpose(1, 2))
        degree = edges.sum(-1).clamp(min=1e-6).rsqrt()
        edges = degree.unsqueeze(-1) * edges * degree.unsqueeze(-2)
        for layer in self.layers:
            nodes = functional.leaky_relu(edges @ layer(nodes), 0.2)
        return nodes.max(1).values


class _Regions(nn.Module):
    """RAN (Wang et al. 2020): crops of the map, weighed by themselves and beside the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.beta = nn.Linear(WIDTH, 1), nn.Linear(2 * WIDTH, 1)
        self.fc = nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        crops = [x, x[..., :5, :5], x[..., :5, 3:], x[..., 3:, :5], x[..., 3:, 3:], x[..., 2:6, 2:6]]
        features = torch.stack([crop.mean((2, 3)) for crop in crops], 1)
        alphas = torch.sigmoid(self.alpha(features))
        whole = (features * alphas).sum(1, keepdim=True) / alphas.sum(1, keepdim=True)
        both = torch.cat([features, whole.expand_as(features)], -1)
        weights = alphas * torch.sigmoid(self.beta(both))
        return self.fc((both * weights).sum(1) / weights.sum(1))


def _distances(prototypes: Tensor, x: Tensor) -> Tensor:
    return -torch.cdist(x, prototypes)


def _radial(prototypes: Tensor, width: Tensor, read: nn.Module, x: Tensor) -> Tensor:
    squared = (x.unsqueeze(1) - prototypes).pow(2).mean(-1)
    return read(torch.exp(-functional.softplus(width) * squared))


def _log_probabilities(fc: nn.Module, x: Tensor) -> Tensor:
    return functional.log_softmax(fc(x), dim=1)


def _grouped(fc: nn.Module, x: Tensor) -> Tensor:
    """Seven classes of three kinds each."""
    return torch.logsumexp(fc(x).view(-1, CLASSES, 3), dim=2)


def _evidence(fc: nn.Module, x: Tensor) -> Tensor:
    """Means of a Dirichlet distribution."""
    alpha = functional.softplus(fc(x)) + 1
    return alpha / alpha.sum(1, keepdim=True)


def _ordinal(fc: nn.Module, x: Tensor) -> Tensor:
    """Each level is reached only with those below it."""
    reached = torch.exp(torch.cumsum(functional.logsigmoid(fc(x)), dim=1))
    return torch.log(reached + 1e-4) - torch.log(1 - reached + 1e-4)


def _gated(fc: nn.Module, other: nn.Module, x: Tensor) -> Tensor:
    """Another layer where the features are strong."""
    is_strong = (x.mean(1, keepdim=True) > 0.5) & (x.amax(1, keepdim=True) < 50.0)
    return torch.where(is_strong, fc(x), 0.5 * other(x))


def _tempered(fc: nn.Module, scale: nn.Module, x: Tensor) -> Tensor:
    """Logits divided by a temperature that the image decides."""
    return fc(x) / (functional.softplus(scale(x)) + 0.2)


def _unit_and_length(fc: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """An embedding as it is compared, and logits of it."""
    embedding = functional.normalize(x)
    return 8 * fc(embedding), embedding


def _ranked(x: Tensor) -> Tensor:
    return torch.sort(x, dim=1, descending=True)[0]


def _hashed(x: Tensor) -> Tensor:
    """Rounded to quarters, with what is rounded off beside it."""
    steps = torch.floor(x * 4) / 4
    return torch.cat([steps, x - steps, torch.round(x) % 2], 1)


def _angle(x: Tensor) -> Tensor:
    first, second = torch.tanh(x).chunk(2, 1)
    return torch.cat([torch.acos(first * 0.99), torch.atan(second * 3)], 1)


def _fc(width: int = WIDTH, classes: int = CLASSES) -> Layer:
    return lambda: nn.Linear(width, classes)


def _last(function: Said, *held: Made, **options: Any) -> Published:
    """What a function makes of features (N, WIDTH) is the answer."""
    return of_faces(_features, lambda: Formula(function, *(each() for each in held)), **options)


def _read(function: Said, *held: Made, width: int = WIDTH) -> Published:
    """What a function makes of features, a linear layer reads."""
    return of_faces(_features, lambda: Formula(function, *(each() for each in held)), _fc(width))


def _prototypes() -> nn.Parameter:
    return nn.Parameter(torch.randn(CLASSES, WIDTH))


_EMBEDDING = head("embedding", "embedding", "none")
_VALENCE = head("valence", "valence_arousal", "none")

HEADS = {
    "head_plain": of_faces(stem, pooled),
    "head_arcface": of_faces(_features, _ArcFace),
    "head_arcface_centres": of_faces(_features, partial(_ArcFace, 3)),
    "head_distances": _last(_distances, _prototypes),
    "head_radial": _last(
        _radial, lambda: nn.Parameter(torch.randn(16, WIDTH)), lambda: nn.Parameter(torch.zeros(16)), _fc(16)
    ),
    "head_log_softmax": _last(_log_probabilities, _fc()),
    "head_grouped": _last(_grouped, _fc(classes=3 * CLASSES)),
    "head_evidence": _last(_evidence, _fc(), heads=[head(activation="none")]),
    "head_ordinal": _last(_ordinal, _fc()),
    "head_gated": _last(_gated, _fc(), _fc()),
    "head_tempered": _last(_tempered, _fc(), _fc(classes=1)),
    "head_embedding_beside": _last(_unit_and_length, _fc(), heads=[head(), _EMBEDDING]),
    "head_ranked": _read(_ranked),
    "head_hashed": _read(_hashed, width=3 * WIDTH),
    "head_angle": _read(_angle),
    "head_distribution": of_faces(_features, _Distribution, heads=[head(), _VALENCE]),
    "head_three": of_faces(_features, _Three, heads=[head(), _VALENCE, head("units", "action_units", "none", _UNITS)]),
    "head_experts_two": of_faces(_features, partial(_Mixture, 2)),
    "head_capsules": of_faces(stem, _Capsules),
    "head_refined": of_faces(_features, _Refined),
    "head_binned": of_faces(_features, _Binned, _fc(5 * WIDTH)),
    "head_diagonal": _read(lambda x: torch.diagonal(x.unsqueeze(2) @ torch.tanh(x).unsqueeze(1), dim1=1, dim2=2)),
    "head_graph": of_faces(stem, _Graph, _fc()),
    "head_regions": of_faces(stem, _Regions),
}
